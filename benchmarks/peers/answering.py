"""How a peer talks with the benchmark: what it is about as JSON, then a line for each turn, answered by seconds."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def answer(make: Callable[[dict[str, Any]], Callable[[], object]]) -> None:
    """Make what does the work, then do it each time that it is asked for."""
    work = make(json.loads(sys.stdin.readline()))
    for _ in sys.stdin:
        start = time.perf_counter()
        work()
        print("seconds", time.perf_counter() - start, flush=True)

"""The process of one job: ``python -m nemesyst.run.worker FD``, with the job as JSON on standard input.

Messages go to the file descriptor FD, one JSON value a line; see :class:`Wire`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import JobError, NemesystError
from nemesyst.hub import connect_settings
from nemesyst.settings import load_settings
from nemesyst.stages import load_script, script_line, work

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

INTERRUPTED = 130
_JOB = os.getpid()
_INTERVAL = 0.1
"""Time between two messages about progress, in s."""


class Wire:
    """Progress as messages: ``rows`` (so far), ``epoch``, ``values``, ``expect``; at the end ``done`` or ``failed``."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        self._rows = 0
        self._values: dict[str, Any] | None = None
        self._told = 0.0

    def send(self, **message: Any) -> None:
        """Write one message now."""
        self._file.write(json.dumps(message, default=_plain) + "\n")
        self._file.flush()

    def rows(self, count: int) -> None:
        """Count rows."""
        self._rows += count
        self._tell()

    def values(self, values: Mapping[str, float], step: int | None) -> None:
        """Keep the newest numbers."""
        self._values = {"values": dict(values), "step": step}
        self._tell()

    def epoch(self, number: int, total: int, rows: int | None) -> None:
        """Tell a new epoch at once."""
        self.flush()
        self.send(epoch=[number, total, rows])

    def expect(self, rows: int | None) -> None:
        """Tell how many rows are to come."""
        self.send(expect=rows)

    def _tell(self) -> None:
        now = time.monotonic()
        if now - self._told >= _INTERVAL:
            self.flush()
            self._told = now

    def flush(self) -> None:
        """Tell what is not told yet."""
        self.send(rows=self._rows)
        if self._values is not None:
            self.send(**self._values)
            self._values = None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value)


def main() -> int:
    """Run the job that standard input describes."""
    _end_with_parent()
    signal.signal(signal.SIGINT, _interrupt_once)
    signal.signal(signal.SIGTERM, _interrupt_once)
    os.register_at_fork(after_in_child=_end_as_others_do)
    wire = Wire(int(sys.argv[1]))
    job = json.load(sys.stdin)
    path = Path(job["script"])
    try:
        outcome = _run(path, job, wire)
    except KeyboardInterrupt:
        return INTERRUPTED
    except NemesystError as error:
        wire.send(failed={"kind": type(error).__name__, "message": error.message, "remedy": error.remedy})
        return 1
    except BaseException as error:  # noqa: BLE001 - the function is the user's: anything may come out of it
        where = script_line(error.__traceback__, path)
        message = f"{where}: {type(error).__name__}: {_text(error)}"
        wire.send(failed={"kind": JobError.__name__, "message": message, "remedy": _source(error, path)})
        return 1
    wire.flush()
    wire.send(done=asdict(outcome))
    return 0


def _run(path: Path, job: Mapping[str, Any], wire: Wire) -> Any:
    settings = load_settings(job["settings"])
    stage = load_script(path).stage(job["name"])
    with connect_settings(settings) as hub:
        return work(hub, stage, settings.args, wire, path)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - it is the user's class
        return "(its text cannot be made)"


def _interrupt_once(number: int, _: FrameType | None) -> None:
    if os.getpid() != _JOB:  # a child that was forked this very moment
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    # Ctrl-C reaches us from the terminal and from our parent: the second must not cut the clean end short.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def _end_as_others_do() -> None:
    """In a child of the function's own, forked: signals end it at once, as it is none of ours.

    A handler in Python would wait for the child's next step, which one that waits for a lock may never take.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is _interrupt_once:
            signal.signal(number, signal.SIG_DFL)


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however it dies (Linux)."""
    if sys.platform == "linux":
        parent_death_signal = 1
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGKILL)


def _source(error: BaseException, path: Path) -> str | None:
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f"The line is: {frames[-1].line}" if frames else None


if __name__ == "__main__":
    sys.exit(main())

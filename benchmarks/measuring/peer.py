"""Another library, in a process and an environment of its own: ``make bench-peers`` builds ``.venv-peers``."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PROGRAMS = ROOT / "benchmarks" / "peers"


class Peer:
    """A peer that does its work whenever it is asked, and says how long it took; imports and set-up do not count.

    A peer that is not installed, or that fails, gives None.

    Args:
        program: Name of a program in ``benchmarks/peers``.
        what: What it gets as JSON through its pipe.
    """

    def __init__(self, program: str, **what: Any) -> None:
        self._what = what
        self._program = program
        self._process: subprocess.Popen[str] | None = None
        self._gone = not PYTHON.exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __call__(self) -> float | None:
        """Let it do its work once; the seconds that it took."""
        if self._gone:
            return None
        if self._process is None:
            command = [str(PYTHON), str(PROGRAMS / f"{self._program}.py")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            self._tell(json.dumps(self._what))
        self._tell("go")
        answer = self._answer(self._process.stdout)
        self._gone = answer is None
        return answer

    def _tell(self, line: str) -> None:
        assert self._process is not None  # noqa: S101 - called when it runs
        assert self._process.stdin is not None  # noqa: S101 - it has a pipe
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:  # its answer will be missed
            return

    def _answer(self, lines: IO[str] | None) -> float | None:
        for line in lines or ():
            if line.startswith("seconds "):  # others may print what they like
                return float(line.split()[1])
        return None

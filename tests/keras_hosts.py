"""A process for each backend of Keras, in which the programs of the tests run one after another.

A process can have one backend only, and importing Keras takes seconds of a processor.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import traceback
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Hosts:
    """The processes, each begun when it is first asked; their messages go into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._told: dict[tuple[str, ...], str] = {}

    def run(self, backend: str, program: Path, *arguments: object) -> str:
        """What a program, which finds its arguments in ``sys.argv``, prints on a backend."""
        host = self._running.get(backend) or self._begin(backend)
        try:
            host.stdin.write(json.dumps([str(program), *map(str, arguments)]) + "\n")
            host.stdin.flush()
            answer = host.stdout.readline()
            assert answer, (self.folder / backend).read_text()[-5000:]
        except BaseException:  # also when the time of a test is over: the next one would get the answer of this one
            self._end(backend)
            raise
        printed, error = json.loads(answer)
        assert error is None, printed + error
        return printed

    def once(self, backend: str, program: Path, *arguments: str) -> str:
        """As :meth:`run`, but the second time what it printed the first time: the order of the tests is random."""
        asked = (backend, str(program), *arguments)
        if asked not in self._told:
            self._told[asked] = self.run(backend, program, *arguments)
        return self._told[asked]

    def close(self) -> None:
        """End the processes."""
        for backend in list(self._running):
            self._end(backend)

    def _begin(self, backend):
        environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        with (self.folder / backend).open("a") as messages:
            self._running[backend] = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
                text=True,
                env=environment,
            )
        return self._running[backend]

    def _end(self, backend):
        host = self._running.pop(backend)
        host.kill()
        host.communicate()


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework's compiled code prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(done(*json.loads(line))) + "\n")
        answers.flush()


def done(program, *arguments):
    """What a program printed, and the error that ended it or None."""
    printed, error, path = io.StringIO(), None, sys.path[:]
    sys.argv = [program, *arguments]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
            runpy.run_path(program, run_name="__main__")
    except BaseException:  # noqa: BLE001 - whatever it is, the test that asked is told
        error = traceback.format_exc()
    sys.path[:] = path
    return printed.getvalue(), error


if __name__ == "__main__":
    main()

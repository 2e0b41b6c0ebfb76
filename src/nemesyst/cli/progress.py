"""Progress of a long command: a bar with rate and remaining time on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from nemesyst.cli.command import is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress, TaskID

    from nemesyst.cli.command import Session

EVERY = 5.0
"""Time between two plain lines, in s."""


class Bar(Protocol):
    """What a command tells of its progress."""

    def advance(self, count: int = 1) -> None:
        """Count more as done."""

    def update(self, done: int, text: str | None = None) -> None:
        """Set what is done, and perhaps a text beside it."""


@contextmanager
def progress(session: Session, doing: str, total: int | None = None, unit: str = "rows") -> Iterator[Bar]:
    """Show the progress of what the block does; shows nothing with ``--quiet``.

    Args:
        session: The command's session.
        doing: What is done, such as ``"storing"``.
        total: How much there is to do; None: not known.
        unit: What is counted; ``"bytes"`` are shown as MB.

    >>> with progress(session, "storing", total=100) as bar:  # doctest: +SKIP
    ...     bar.advance(10)
    """
    stream = sys.stderr if session.json else sys.stdout
    if session.quiet:
        yield Silent()
    elif is_terminal(stream):
        with _rich(stream, unit) as shown:
            yield Drawn(shown, shown.add_task(doing, total=total, note=""))
    else:
        lines = Lines(stream, doing, total, unit)
        try:
            yield lines
        finally:
            lines.finish()


class Silent:
    """Shows nothing."""

    def advance(self, count: int = 1) -> None:
        """Count more as done."""

    def update(self, done: int, text: str | None = None) -> None:
        """Set what is done."""


class Drawn:
    """A bar of Rich on a terminal."""

    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def advance(self, count: int = 1) -> None:
        """Count more as done."""
        self._shown.advance(self._task, count)

    def update(self, done: int, text: str | None = None) -> None:
        """Set what is done, and perhaps a text beside the bar."""
        if text is None:
            self._shown.update(self._task, completed=done)
        else:
            self._shown.update(self._task, completed=done, note=text)


class Lines:
    """A plain line every few seconds, and one at the end."""

    def __init__(self, stream: TextIO, doing: str, total: int | None, unit: str) -> None:
        self._stream, self._doing, self._total, self._unit = stream, doing, total, unit
        self._done, self._note = 0, ""
        self._started = self._written = time.monotonic()

    def advance(self, count: int = 1) -> None:
        """Count more as done."""
        self.update(self._done + count)

    def update(self, done: int, text: str | None = None) -> None:
        """Set what is done, and perhaps a text behind it."""
        self._done = done
        self._note = self._note if text is None else text
        if time.monotonic() - self._written >= EVERY:
            self.write()

    def finish(self) -> None:
        """Write the last line, unless all was over in a moment."""
        if time.monotonic() - self._started >= 1:
            self.write()

    def write(self) -> None:
        """Write a line: what is done of what, per second, and the time that is left."""
        self._written = time.monotonic()
        seconds = max(self._written - self._started, 1e-9)
        parts = [f"{self._doing}: {amount(self._done, self._unit)}"]
        if self._total:
            parts[0] += f" of {amount(self._total, self._unit)}"
        if self._note:
            parts.append(self._note)
        parts.append(f"{amount(self._done / seconds, self._unit)}/s")
        if self._total and 0 < self._done < self._total:
            parts.append(f"{seconds / self._done * (self._total - self._done):.0f} s left")
        print(", ".join(parts), file=self._stream, flush=True)


def amount(count: float, unit: str) -> str:
    """A count with its unit.

    >>> amount(12_345.0, "rows"), amount(2_500_000, "bytes")
    ('12,345 rows', '2.5 MB')
    """
    return f"{count / 1e6:,.1f} MB" if unit == "bytes" else f"{count:,.0f} {unit}"


def _rich(stream: TextIO, unit: str) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Amount done and amount per second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(amount(task.completed, unit) + (f", {amount(speed, unit)}/s" if speed else ""))

    columns = (TextColumn("{task.description}"), BarColumn(), Rate(), TimeRemainingColumn())
    return Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(file=stream))

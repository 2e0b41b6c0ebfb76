"""Tables and sizes, for people."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from nemesyst.cli.command import is_terminal

if TYPE_CHECKING:
    from collections.abc import Sequence


def size_of(size: int) -> str:
    """Bytes, for people.

    >>> size_of(1234567)
    '1.2 MB'
    """
    if size < 1000:
        return f"{size} B"
    if size < 1e6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e6:.1f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"


def shown(text: str) -> str:
    """Text without what would move the cursor or change the terminal; new lines stay."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: with lines and colours on a terminal, else plain aligned text."""
    if is_terminal(sys.stdout):
        return _rich_table(heads, rows)
    shown = [heads, *rows] if any(heads) else list(rows)
    widths = [max(len(line) for row in shown for line in row[column].split("\n")) for column in range(len(heads))]
    return "\n".join(line for row in shown for line in _aligned(row, widths))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [cell.split("\n") for cell in row]
    height = max(map(len, cells))
    columns = [[*lines, *[""] * (height - len(lines))] for lines in cells]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in zip(*columns, strict=True)
    ]


def _rich_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, box=None, pad_edge=False, show_header=any(heads), header_style="bold")
    for row in rows:
        table.add_row(Text(row[0], style="bold"), *(Text(cell) for cell in row[1:]))
    console = Console()
    with console.capture() as captured:
        console.print(table)
    return captured.get().rstrip("\n")

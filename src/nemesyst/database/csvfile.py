"""CSV: the delimiter, the header and the types are found on the first rows, and every later row must fit them."""

from __future__ import annotations

import contextlib
import csv
import itertools
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nemesyst.database.put.rows import Refused, Row
from nemesyst.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemesyst.database.files import Source

LOOKED_AT = 10_000
"""Rows that the types are found on."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,9})?)?\s?(Z|[+-]\d\d:?\d\d)?)?$")
_WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)$")
_LARGEST_CELL = 16 * 2**20


@dataclass(frozen=True)
class Layout:
    """How a CSV file is written.

    Attributes:
        delimiter: Comma, semicolon or tab.
        names: The header.
        types: Name of each column's type.
    """

    delimiter: str
    names: tuple[str, ...]
    types: tuple[str, ...]

    @property
    def shown(self) -> dict[str, str]:
        """Field names with their types."""
        return dict(zip(self.names, self.types, strict=True))


def whole(cell: str) -> int:
    """An int; leading zeros make text of it, such as a post code.

    Raises:
        ValueError: It is none, or needs more than 64 bits.
    """
    number = int(cell) if _WHOLE.match(cell) else None
    if number is None or not -(2**63) <= number < 2**63:
        raise ValueError(cell)
    return number


def number(cell: str) -> float:
    """A float; ``nan`` and ``inf`` too.

    Raises:
        ValueError: It is none, such as 1_000 or 007, or a whole number so long that a float would change it.
    """
    if "_" in cell or re.match(r"[+-]?0\d", cell):
        raise ValueError(cell)
    if _WHOLE.match(cell) and not -(2**63) <= int(cell) < 2**63:
        raise ValueError(cell)
    return float(cell)


def truth(cell: str) -> bool:
    """A bool: true or false in any case.

    Raises:
        ValueError: It is neither.
    """
    return {"true": True, "false": False}[cell.lower()] if cell.lower() in ("true", "false") else _no(cell)


def moment(cell: str) -> datetime:
    """A date of ISO 8601, in UTC where it names no zone.

    Raises:
        ValueError: It is none.
    """
    if not _DATE.match(cell):
        _no(cell)
    found = datetime.fromisoformat(cell.replace(",", ".").replace(" Z", "Z"))
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _no(cell: str) -> Any:
    raise ValueError(cell)


TYPES: dict[str, Callable[[str], Any]] = {"int": whole, "float": number, "bool": truth, "date": moment, "str": str}
"""Each type's reader, the narrowest first."""


def look(source: Source, given: dict[str, str] | None = None) -> Layout:
    """Find delimiter, header and types on the first rows.

    Args:
        source: The file.
        given: Types that are not looked for, by column.

    Raises:
        RecordError: There is no header, or two columns have one name.
    """
    from nemesyst.database.files import NOT_TEXT, TextLines, not_text

    with TextLines(source) as lines:
        first = next(lines, "")
        if not_text(first):
            raise RecordError(f"{source.name}:1: {NOT_TEXT}", "Convert the file to UTF-8 (UTF-16 too, with iconv).")
        delimiter = _delimiter(source, first)
        csv.field_size_limit(_LARGEST_CELL)
        reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter)
        try:
            names = _header(source, next(reader, []))
        except csv.Error as error:
            raise RecordError(f"{source.name}:1: not a CSV file: {error}", "Its lines end with a newline.") from None
        sample = _sample(reader, len(names))
    source.read = 0
    types = (_type([row[place] for row in sample]) for place in range(len(names)))
    return Layout(
        delimiter, names, tuple((given or {}).get(name, kind) for name, kind in zip(names, types, strict=True))
    )


def _delimiter(source: Source, header: str) -> str:
    if ".tsv" in source.path.name.lower():
        return "\t"
    unquoted = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=unquoted.count)


def _header(source: Source, names: list[str]) -> tuple[str, ...]:
    names = [name.strip() for name in names]
    if not any(names):
        raise RecordError(f"{source.name}:1: there is no header", "The first line names the columns.")
    for name, count in Counter(names).items():
        if not name:
            raise RecordError(
                f"{source.name}:1: column {names.index('') + 1} has no name", "Name it in the first line."
            )
        if count > 1:
            raise RecordError(f"{source.name}:1: two columns are named {name!r}", "Rename one in the first line.")
        if "." in name or name.startswith("$"):
            raise RecordError(
                f"{source.name}:1: column {name!r} has a dot or a leading dollar, so queries could not name it",
                f"Rename it, such as {re.sub('[.$]', '_', name)}.",
            )
    return tuple(names)


def _sample(reader: Iterator[list[str]], width: int) -> list[list[str]]:
    rows: list[list[str]] = []
    with contextlib.suppress(csv.Error):  # told with its line when the rows are read
        rows.extend(row for row in itertools.islice(reader, LOOKED_AT) if len(row) == width)
    return rows


def _type(cells: list[str]) -> str:
    filled = [cell for cell in map(str.strip, cells) if cell]
    if not filled:
        return "str"
    return next(name for name, read in TYPES.items() if all(_fits(read, cell) for cell in filled))


def _fits(read: Callable[[str], Any], cell: str) -> bool:
    try:
        read(cell)
    except ValueError:
        return False
    return True


def csv_rows(source: Source) -> Iterator[Row]:
    """Rows of a CSV file; a row that does not fit the header or the types is a refused one.

    Raises:
        RecordError: The file is broken.
    """
    from nemesyst.database.files import NOT_TEXT, TextLines, not_text

    layout = look(source, source.fields)
    readers = [TYPES[kind] for kind in layout.types]
    with TextLines(source) as lines:
        reader = csv.reader(lines, delimiter=layout.delimiter)
        next(reader)
        while True:
            line = reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(Refused(f"not a CSV row: {error}", None), line, source.name)
                continue
            if any(map(not_text, cells)):
                yield Row(Refused(NOT_TEXT, cells[:1000]), line, source.name)
            elif cells:
                yield Row(_record(layout, readers, cells), line, source.name)


def _record(layout: Layout, readers: list[Callable[[str], Any]], cells: list[str]) -> Any:
    if len(cells) != len(layout.names):
        return Refused(f"{len(cells)} cells, and {len(layout.names)} columns were expected", cells[:1000])
    record: dict[str, Any] = {}
    for name, kind, read, cell in zip(layout.names, layout.types, readers, cells, strict=True):
        stripped = cell if kind == "str" else cell.strip()
        if not stripped:
            continue
        try:
            record[name] = read(stripped)
        except ValueError:
            shown = dict(zip(layout.names, cells, strict=True))
            return Refused(f"field {name}: not of type {kind}", shown)
    return record


def parse_cell(cell: str) -> Any:
    """The value of a cell by itself: of the narrowest type that fits."""
    for read in TYPES.values():
        try:
            return read(cell)
        except ValueError:
            continue
    return cell

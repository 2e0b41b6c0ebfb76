"""Files as records: CSV, JSON lines, Parquet and Arrow, read as a stream, each record with its line."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import bson.errors
from bson import json_util

from nemesyst.database.put.rows import Refused, Row
from nemesyst.database.put.tables import table_records
from nemesyst.errors import RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
_TEXT = ("csv", "json")
_JSON = json_util.JSONOptions(tz_aware=True, uuid_representation=4)


@dataclass
class Source:
    """A file that is being read; iterate once over it to get its rows.

    Attributes:
        path: The file.
        format: ``csv``, ``json``, ``parquet`` or ``arrow``.
        size: Its length in bytes.
        read: Bytes of it that have been read so far; for progress.
        fields: Field names and types, for formats that tell or show them before a row is stored.
    """

    path: Path
    format: str
    size: int
    read: int = 0
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file as the user named it."""
        return str(self.path)

    def __iter__(self) -> Iterator[Row]:
        """Yield the file's rows, with the line (text) or the row's number from 1 (tables).

        Raises:
            RecordError: The file is broken; names the place.
        """
        from nemesyst.database import csvfile

        readers = {"csv": csvfile.csv_rows, "json": json_rows, "parquet": _parquet_rows, "arrow": _arrow_rows}
        return readers[self.format](self)


def open_source(path: str | Path) -> Source:
    """Look at a file, and find the fields where its format tells them, before anything is stored.

    Raises:
        RecordError: It is missing, a folder, empty, of an unknown kind, or broken at its start.
    """
    path = Path(path)
    if path.is_dir():
        raise RecordError(f"{path} is a folder", "Name its files, such as folder/*.csv.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror}", "Check the path and its rights.") from None
    kind = ENDINGS.get(ending(path))
    if kind is None or (path.suffix.lower() == ".gz" and kind not in _TEXT):
        known = ", ".join(ENDINGS)
        raise RecordError(
            f"{path} has an ending that tells no known format", f"Rename it: {known} (also .csv.gz, .jsonl.gz ...)."
        )
    if size == 0:
        raise RecordError(f"{path} is empty", "Check how it was written.")
    source = Source(path, kind, size)
    _look(source)
    return source


def ending(path: Path) -> str:
    """The ending that tells the format, without ``.gz``."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def _look(source: Source) -> None:
    from nemesyst.database import csvfile

    if source.format == "csv":
        source.fields = csvfile.look(source).shown
    elif source.format != "json":
        with _table(source) as table:
            schema = table.schema_arrow if source.format == "parquet" else table.schema
            source.fields = {name: str(kind) for name, kind in zip(schema.names, schema.types, strict=True)}


class TextLines:
    """Lines of a text file, plain or .gz, that say where it breaks; a context manager."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.number = 0

    def __enter__(self) -> Iterator[str]:
        self._source.read = 0
        try:
            self._raw: IO[bytes] = self._source.path.open("rb")
        except OSError as error:
            raise RecordError(f"{self._source.name} cannot be read: {error.strerror}", "Check its rights.") from None
        zipped = self._source.path.suffix.lower() == ".gz"
        self._file: IO[bytes] = gzip.open(self._raw) if zipped else self._raw  # type: ignore[assignment]
        return self._lines()

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def _lines(self) -> Iterator[str]:
        try:
            for line in self._file:
                self.number += 1
                if self.number % 256 == 1:
                    self._source.read = self._raw.tell()
                # a byte that is no text stays in its line as a surrogate, and that line alone is refused
                yield line.decode("utf-8-sig" if self.number == 1 else "utf-8", "surrogateescape")
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
            raise RecordError(
                f"{self._source.name}:{self.number + 1}: the file is broken: {error}", "Fetch or compress it again."
            ) from None
        self._source.read = self._source.size


NOT_TEXT = "a byte that is not UTF-8 (if the file is Latin-1: iconv -f latin1 -t utf-8 FILE > NEW)"


def not_text(line: str) -> bool:
    """Whether a line holds bytes that were not UTF-8."""
    return not line.isascii() and any("\udc80" <= letter <= "\udcff" for letter in line)


def json_rows(source: Source) -> Iterator[Row]:
    """Rows of a file with one JSON object per line; extended JSON gives dates and ids their types."""
    with TextLines(source) as lines:
        for number, line in enumerate(lines, 1):
            if line.isspace():
                continue
            if not_text(line):
                yield Row(Refused(NOT_TEXT, line[:1000]), number, source.name)
                continue
            if number == 1 and line.lstrip().startswith("["):
                raise RecordError(
                    f"{source.name}:1: a JSON array, and one object per line was expected",
                    f"Convert it: jq -c '.[]' {source.name} > converted.jsonl",
                )
            yield Row(_json_record(line), number, source.name)


def _json_record(line: str) -> Any:
    try:
        record = json_util.loads(line, json_options=_JSON)
    except (ValueError, TypeError, ArithmeticError, RecursionError, bson.errors.BSONError) as error:
        return Refused(f"not valid JSON: {type(error).__name__}", line[:1000])
    return record if isinstance(record, dict) else Refused("a JSON value that is no object", line[:1000])


def _table(source: Source) -> Any:
    """Open a Parquet or Arrow file; both kinds of reader are context managers."""
    try:
        import pyarrow as pa
        from pyarrow import feather, ipc, parquet  # noqa: F401 - found out here, before any work
    except ImportError:
        raise RecordError(f"{source.name}: reading it needs pyarrow", "pip install 'nemesyst[arrow]'") from None
    try:
        if source.format == "parquet":
            return parquet.ParquetFile(source.path)
        try:
            return ipc.open_file(pa.memory_map(str(source.path)))
        except pa.ArrowInvalid:
            return ipc.open_stream(pa.memory_map(str(source.path)))
    except (pa.ArrowException, OSError) as error:
        raise _broken(source, error) from None


def _parquet_rows(source: Source) -> Iterator[Row]:
    with _table(source) as table:
        total = max(table.metadata.num_rows, 1)
        yield from _batches(source, table.iter_batches(batch_size=4096), total)


def _arrow_rows(source: Source) -> Iterator[Row]:
    with _table(source) as table:
        if hasattr(table, "num_record_batches"):
            count = table.num_record_batches
            batches: Iterator[Any] = (table.get_batch(place) for place in range(count))
            yield from _batches(source, batches, None, steps=count)
        else:
            yield from _batches(source, iter(table), None)


def _batches(source: Source, batches: Iterator[Any], total: int | None, steps: int = 0) -> Iterator[Row]:
    import pyarrow as pa

    number = done = 0
    try:
        for batch in batches:
            for record in table_records(batch):
                number += 1
                yield Row(record, number, source.name)
            done += 1
            part = number / total if total else done / steps if steps else 0
            source.read = int(source.size * min(part, 1))
    except (pa.ArrowException, OSError) as error:
        raise _broken(source, error) from None
    source.read = source.size


def _broken(source: Source, error: Exception) -> RecordError:
    first = str(error).splitlines()[0]
    return RecordError(
        f"{source.name}: the file is broken, or not {source.format}: {first}", "Fetch or write it again."
    )

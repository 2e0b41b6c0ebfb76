"""Moving models between databases, in one verified file."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from nemesyst.database import blobs, translated
from nemesyst.errors import ModelError, RecordError, SettingsError
from nemesyst.models import aliases as moves
from nemesyst.models.container import Index, read_content, read_index, write
from nemesyst.models.incoming import DICTS, TEXTS, check_once, file_name, record_of
from nemesyst.models.records import Document, content_of, version_of
from nemesyst.models.reference import Reference
from nemesyst.models.saving import Prepared, check_free, insert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from nemesyst.models.store import Store
    from nemesyst.types import Stored, Version

Numbers = Literal["next", "keep"]

_AT_ONCE = 200
_TIMES = 5
"""How often contents are stored when they are collected meanwhile."""


@dataclass(frozen=True)
class Exported:
    """What a file holds.

    Attributes:
        path: The file.
        refs: References of the versions in it.
        size: Bytes of the file.
    """

    path: Path
    refs: tuple[str, ...]
    size: int


def export(store: Store, refs: Any, file: Any) -> Exported:
    """Write versions into a file; see :meth:`nemesyst.Models.export`."""
    given = [refs] if isinstance(refs, str) else list(refs) if isinstance(refs, Iterable) else []
    if not given:
        raise SettingsError(f"export({refs!r})", "Give a list of references, such as ['air@champion'].")
    path = _path(file)
    wanted = list(dict.fromkeys(map(Reference.parse, given)))
    with translated("export models"):
        documents = {version_of(found).ref: found for found in _at_one_moment(store, wanted)}
    order: dict[Stored, tuple[blobs.Content, str]] = {}
    versions = []
    for ref, document in documents.items():
        version = version_of(document)
        _ = version.lineage  # a damaged one is found here, not by whoever imports it
        for name, stored in version.contents.items():
            content = content_of(document, name)
            if content is not None:
                order.setdefault(stored, (content, ref))
        versions.append(_as_json(document, version))
    contents = list(order)
    index = Index(versions, contents)
    size = write(path, index, lambda number: store.blobs.pieces(*order[contents[number]]))
    return Exported(path, tuple(documents), size)


def _path(file: Any) -> Path:
    try:
        path = Path(file)
    except TypeError:
        raise SettingsError(f"{file!r} is no path of a file", "Give a text or a Path.") from None
    if "\0" in str(path) or not path.name:
        raise SettingsError(f"{str(path)!r} is no path of a file", "Name the file.")
    return path


def _at_one_moment(store: Store, refs: Sequence[Reference]) -> list[Document]:
    """Records as they were at one moment, so that an alias that moves stands once; then their small contents."""
    catalogue = store.catalogue
    if store.connection.server.transactions:
        found = store.connection.transaction("export models", lambda session: catalogue.find_all(refs, session))
    else:
        found = catalogue.find_all(refs)  # where there are no transactions, no alias moves
    filled = {}
    for begin in range(0, len(found), _AT_ONCE):
        some = [each["_id"] for each in found[begin : begin + _AT_ONCE]]
        for each in catalogue.versions.find({"_id": {"$in": some}}, {"contents": 1}):
            filled[each["_id"]] = each["contents"]
    lost = next((each for each in found if each["_id"] not in filled), None)
    if lost is not None:
        raise ModelError(f"{version_of(lost).ref} was deleted while it was exported", "Export again.")
    return [{**each, "contents": filled[each["_id"]]} for each in found]


def import_(store: Store, file_: Any, *, numbers: Numbers, aliases: bool) -> list[Version]:
    """Store the versions of a file; see :meth:`nemesyst.Models.import_`."""
    path = _path(file_)
    if numbers not in ("next", "keep"):
        raise SettingsError(f"numbers={numbers!r}", "Give 'next' (each gets its next number) or 'keep'.")
    doing = f"import {path}"
    store.connection.require_transactions(doing)
    try:
        with path.open("rb") as file:
            index = read_index(file, path)
            records = [record_of(each, index, path, keep=numbers == "keep") for each in index.versions]
            check_once(records, path, aliases=aliases)
            check_free(store, [_prepared(each, {})[0] for each in records])
            store.catalogue.prepare()
            stored = _store(store, file, path, index)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}", "Check the path.") from None
    made = _insert(store, records, stored, doing)
    if aliases:
        wanted = [
            moves.Promotion(Reference.parse(version.ref), alias, f"imported from {file_name(path)}")
            for each, version in zip(records, made, strict=True)
            for alias in each["aliases"]
        ]
        for begin in range(0, len(wanted), moves.AT_ONCE):
            moves.promote(store, wanted[begin : begin + moves.AT_ONCE])
    return made


def _insert(
    store: Store, records: Sequence[Document], stored: Mapping[Stored, blobs.Content], doing: str
) -> list[Version]:
    """Insert the records, parents first, so that each can name its parent by the number that it has here."""
    here: dict[str, Version] = {}
    for batch in _generations(records):
        for each in batch:
            record = each["record"]
            parent = here.get(record["parent"])
            record["parent"] = parent.ref if parent is not None else record["parent"] if each["keep"] else None
        for each, version in zip(batch, insert(store, [_prepared(one, stored) for one in batch], doing), strict=True):
            here[each["record"]["imported"]["ref"]] = version
    return [here[each["record"]["imported"]["ref"]] for each in records]


def _as_json(document: Document, version: Version) -> Document:
    """A record as JSON values: what belongs to the version, not to the database that it is in."""
    return {
        "name": version.name,
        "entity": version.entity,
        "number": version.number,
        "created": version.created.isoformat(),
        "aliases": list(version.aliases),
        "tags": dict(version.tags),
        "metrics": {name: None if math.isnan(value) else value for name, value in version.metrics.items()},
        "args": dict(version.args),
        "seconds": version.seconds,
        **{name: document.get(name) for name in (*TEXTS, *DICTS)},
        "contents": {name: stored.digest for name, stored in version.contents.items()},
    }


def _store(store: Store, file: BinaryIO, path: Path, index: Index) -> dict[Stored, blobs.Content]:
    """Store the contents of a file; what is stored of a damaged one is collected later."""
    return {content: _stored(store, file, path, content) for content in index.contents}


def _stored(store: Store, file: BinaryIO, path: Path, content: Stored) -> blobs.Content:
    begin = file.tell()
    for attempt in range(_TIMES):
        file.seek(begin)
        pieces = read_content(file, path, content)
        known = store.blobs.find(content.digest, content.size)
        if known is not None:
            deque(pieces, maxlen=0)  # verified all the same
            return known
        try:
            return store.blobs.store(pieces, f"import {file_name(path)}")
        except blobs.CollectedError:
            if attempt == _TIMES - 1:
                raise
    raise AssertionError(path)


def _prepared(each: Document, stored: Mapping[Stored, blobs.Content]) -> tuple[Prepared, dict[str, blobs.Content]]:
    prepared = Prepared(each["target"], each["record"], {}, each["keep"])
    return prepared, {name: stored[content] for name, content in each["contents"].items() if content in stored}


def _generations(records: Sequence[Document]) -> Iterator[list[Document]]:
    """Records in batches, parents before those that went on from them."""
    left = list(records)
    while left:
        waiting = {each["record"]["imported"]["ref"] for each in left}
        ready = [each for each in left if each["record"]["parent"] not in waiting] or left  # or in a circle
        for begin in range(0, len(ready), _AT_ONCE):
            yield ready[begin : begin + _AT_ONCE]
        taken = set(map(id, ready))
        left = [each for each in left if id(each) not in taken]

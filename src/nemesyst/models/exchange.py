"""Moving models between databases, in one verified file."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from nemesyst.database import blobs, translated
from nemesyst.errors import CorruptBlobError, ModelError, RecordError, SettingsError
from nemesyst.models import aliases as moves
from nemesyst.models.arguments import check_args, check_metrics, check_tags
from nemesyst.models.container import Index, read_content, read_index, write
from nemesyst.models.records import CONTENTS, Document, content_of, facts_of, version_of
from nemesyst.models.reference import Reference, check_alias
from nemesyst.models.saving import Prepared, check_free, insert

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nemesyst.models.store import Store
    from nemesyst.types import Stored, Version

Numbers = Literal["next", "keep"]

_TEXTS = ("text", "framework", "architecture", "build", "feed", "lineage", "parent", "node", "plan")
_DICTS = ("rows", "learner", "environment")
_AT_ONCE = 200


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


def export(store: Store, refs: Sequence[str], path: Path) -> Exported:
    """Write versions into a file; see :meth:`nemesyst.Models.export`."""
    if isinstance(refs, str) or not refs:
        raise SettingsError(f"export({refs!r})", "Give a list of references, such as ['air@champion'].")
    with translated("export models"):
        documents = {}
        for ref in refs:
            found = store.catalogue.find(Reference.parse(ref), data=True)
            documents[version_of(found).ref] = found
    order: dict[Stored, tuple[blobs.Content, str]] = {}
    versions = []
    for ref, document in documents.items():
        version = version_of(document)
        for name, stored in version.contents.items():
            content = content_of(document, name)
            if content is not None:
                order.setdefault(stored, (content, ref))
        versions.append(_as_json(document, version))
    contents = list(order)
    index = Index(versions, contents)
    size = write(path, index, lambda number: store.blobs.pieces(*order[contents[number]]))
    return Exported(path, tuple(documents), size)


def import_(store: Store, path: Path, *, numbers: Numbers, aliases: bool) -> list[Version]:
    """Store the versions of a file; see :meth:`nemesyst.Models.import_`."""
    if numbers not in ("next", "keep"):
        raise SettingsError(f"numbers={numbers!r}", "Give 'next' (each gets its next number) or 'keep'.")
    doing = f"import {path}"
    store.connection.require_transactions(doing)
    try:
        with path.open("rb") as file:
            index = read_index(file, path)
            records = [_record(each, index, path, keep=numbers == "keep") for each in index.versions]
            check_free(store, [_prepared(each, {})[0] for each in records])
            store.catalogue.prepare()
            stored = _store(store, file, path, index)
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}", "Check the path.") from None
    made = _insert(store, records, stored, doing)
    if aliases:
        wanted = [
            moves.Promotion(Reference.parse(version.ref), alias, f"imported from {path.name}")
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
        **{name: document.get(name) for name in (*_TEXTS, *_DICTS)},
        "contents": {name: stored.digest for name, stored in version.contents.items()},
    }


def _record(said: Mapping[str, Any], index: Index, path: Path, *, keep: bool) -> Document:
    """A record out of a file, checked: whoever wrote the file may have meant harm.

    Raises:
        CorruptBlobError: It is no record.
    """
    sizes = {content.digest: content for content in index.contents}
    try:
        target = Reference.parse(str(Reference(_typed(said["name"], str), _typed(said["entity"], str))))
        number, created = said["number"], datetime.fromisoformat(said["created"])
        aliases = [check_alias(alias) for alias in said["aliases"]]
        metrics = check_metrics({name: math.nan if v is None else v for name, v in said["metrics"].items()})
        contents = {name: sizes[digest] for name, digest in said["contents"].items() if name in CONTENTS}
        record = {
            **{name: _typed(said.get(name), str) for name in _TEXTS if name != "plan"},
            **{name: None if said.get(name) is None else check_args(said[name], name) for name in _DICTS},
            **({"plan": _typed(said["plan"], str)} if said.get("plan") else {}),
            "tags": check_tags(said["tags"]),
            "metrics": metrics,
            "args": check_args(said["args"]),
            "seconds": _typed(said.get("seconds"), (int, float)),
        }
        named = {name: stored._asdict() for name, stored in contents.items()}
        version_of({"name": target.name, "number": _counted(number), "created": created, "contents": named, **record})
    except (ValueError, TypeError, KeyError, AttributeError, SettingsError, ModelError, RecursionError) as error:
        raise CorruptBlobError(
            f"{path} is no file of models, or a damaged one: a record in it is none ({error!r:.200})",
            "Export it again.",
        ) from None
    imported = {"ref": str(Reference(target.name, target.entity, number)), "created": said["created"]}
    imported |= {"parent": record["parent"], "file": path.name}
    record |= {"facts": facts_of(metrics, record["tags"]), "imported": imported}
    return {
        "target": target,
        "keep": number if keep else None,
        "aliases": aliases,
        "contents": contents,
        "record": record,
    }


def _counted(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 10**9:
        raise TypeError(number)
    return number


def _typed(value: Any, kinds: type | tuple[type, ...]) -> Any:
    if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
        raise TypeError(value)
    return value


def _store(store: Store, file: BinaryIO, path: Path, index: Index) -> dict[Stored, blobs.Content]:
    """Store the contents of a file; what is stored of a damaged one is collected later."""
    found: dict[Stored, blobs.Content] = {}
    for content in index.contents:
        known = store.blobs.find(content.digest, content.size)
        pieces = read_content(file, path, content)
        if known is None:
            known = store.blobs.store(pieces, f"import {path}")
        else:
            deque(pieces, maxlen=0)  # verified all the same
        found[content] = known
    return found


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

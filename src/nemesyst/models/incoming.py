"""Records out of a file of models, checked before anything is stored: whoever wrote it may have meant harm."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nemesyst.errors import CorruptBlobError, ModelError, SettingsError
from nemesyst.models.arguments import check_args, check_learner, check_metrics, check_tags, check_text
from nemesyst.models.records import CONTENTS, Document, facts_of, version_of
from nemesyst.models.reference import Reference, check_alias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nemesyst.models.container import Index

TEXTS = ("text", "framework", "architecture", "build", "feed", "lineage", "parent", "node", "plan")
DICTS = ("rows", "learner", "environment")
"""Fields of a record that travel as they are."""


def check_once(records: Sequence[Document], path: Path, *, aliases: bool) -> None:
    """Refuse a file in which a version stands twice, or an alias, if aliases are to be moved.

    Raises:
        CorruptBlobError: One does; names it.
    """
    seen = Counter(each["record"]["imported"]["ref"] for each in records)
    if aliases:
        seen.update(f"{each['target'].path}@{alias}" for each in records for alias in set(each["aliases"]))
    twice = next((ref for ref, times in seen.items() if times > 1), None)
    if twice is not None:
        raise CorruptBlobError(f"{path} is a damaged file of models: {twice} stands in it twice", "Export it again.")


def file_name(path: Path) -> str:
    """The name of a file as text that can be stored."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def record_of(said: Mapping[str, Any], index: Index, path: Path, *, keep: bool) -> Document:
    """A record out of a file, checked: whoever wrote the file may have meant harm.

    Raises:
        CorruptBlobError: It is no record.
    """
    sizes = {content.digest: content for content in index.contents}
    try:
        target = _target(said)
        number, created = said["number"], datetime.fromisoformat(said["created"])
        aliases = [check_alias(alias) for alias in _typed(said["aliases"], list)]
        metrics = check_metrics({name: math.nan if v is None else v for name, v in said["metrics"].items()})
        contents = {name: sizes[digest] for name, digest in said["contents"].items() if name in CONTENTS}
        record = {
            **{name: check_text(name, said.get(name)) for name in TEXTS if name != "plan"},
            **{name: None if said.get(name) is None else check_args(said[name], name) for name in DICTS},
            **({"plan": check_text("plan", said["plan"])} if said.get("plan") else {}),
            "learner": check_learner(said.get("learner")),
            "tags": check_tags(said["tags"]),
            "metrics": metrics,
            "args": check_args(said["args"]),
            "seconds": _typed(said.get("seconds"), (int, float)),
        }
        named = {name: stored._asdict() for name, stored in contents.items()}
        first = {"name": target.name, "entity": target.entity, "number": _counted(number), "aliases": aliases}
        version = version_of({**first, "created": created, "contents": named, **record})
        _ = version.lineage  # it is checked when it is asked for
    except (ValueError, TypeError, KeyError, AttributeError, SettingsError, ModelError, RecursionError) as error:
        raise CorruptBlobError(
            f"{path} is no file of models, or a damaged one: a record in it is none ({error!r:.200})",
            "Export it again.",
        ) from None
    imported = {"ref": str(Reference(target.name, target.entity, number)), "created": said["created"]}
    imported |= {"parent": record["parent"], "file": file_name(path)}
    record |= {"facts": facts_of(metrics, record["tags"]), "imported": imported}
    return {
        "target": target,
        "keep": number if keep else None,
        "aliases": aliases,
        "contents": contents,
        "record": record,
    }


def _target(said: Mapping[str, Any]) -> Reference:
    given = Reference(_typed(said["name"], str), _typed(said["entity"], str))
    if Reference.parse(str(given)) != given:  # such as one whose name holds an entity
        raise ValueError(said["name"])
    return given


def _counted(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number < 10**9:
        raise TypeError(number)
    return number


def _typed(value: Any, kinds: type | tuple[type, ...]) -> Any:
    if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
        raise TypeError(value)
    return value

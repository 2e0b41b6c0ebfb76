"""Saving: what is recorded is checked first, then contents are stored, then records inserted in one transaction."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TYPE_CHECKING, Any

from nemesyst.database import blobs
from nemesyst.errors import ModelError
from nemesyst.frameworks import adapter_for
from nemesyst.models import forms, golden
from nemesyst.models.architectures import name_in_registry
from nemesyst.models.arguments import (
    check_args,
    check_build,
    check_contents,
    check_learner,
    check_metrics,
    check_seconds,
    check_tags,
    check_text,
    feed_text,
    name_of,
)
from nemesyst.models.catalogue import at
from nemesyst.models.environment import environment
from nemesyst.models.records import MODEL, Document, facts_of, stored_as, version_of
from nemesyst.models.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nemesyst.frameworks import Adapter
    from nemesyst.models.store import Store
    from nemesyst.types import Version

_TIMES = 5
"""How often contents are stored when they are collected before a record names them."""

_LONG_TEXT = 256 * 1024


@dataclass(frozen=True)
class Saving:
    """A model that is to be saved, with what is recorded of it.

    Attributes:
        model: A model of a supported framework.
        name: Name, with or without an entity: ``"air"``, ``"air[site12]"``.
        feed: The feed that it learned from, or its specification.
        build: The function that makes such a model from ``args``; only checked and named, never stored.
        architecture: Name under which the readers register that function (:func:`nemesyst.architecture`).
        args: Its arguments; JSON values.
        metrics: Numbers, each finite or NaN.
        parent: Reference of the version that training went on from.
        learner: What trained it, such as function and arguments; JSON values.
        optimizer: Its optimiser, to go on training with.
        also: Other forms to store: ``"onnx"``.
        tags: Text, numbers or booleans by name, to find it by.
        text: What the model is for.
        golden: A few inputs (an array, or a batch) that it is tested with when it is loaded; None: the first rows of
            the feed; False: none.
        curves: Metrics over time, as JSON text.
        seconds: Time that training took, in s.
    """

    model: Any
    name: str
    feed: Any = None
    build: Callable[..., Any] | None = None
    architecture: str | None = None
    args: Mapping[str, Any] | None = None
    metrics: Mapping[str, Any] | None = None
    parent: str | Version | None = None
    learner: Mapping[str, Any] | None = None
    optimizer: Any = None
    also: str | Sequence[str] = ()
    tags: Mapping[str, Any] | None = None
    text: str | None = None
    golden: Any = None
    curves: bytes | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Prepared:
    """A version that can be stored: checked, with its contents as they will be read.

    Attributes:
        target: Its name and entity.
        record: Its document, without number, time and contents.
        contents: Bytes by name, in pieces that can be gone through twice.
        number: The number that it must have; None: the next one.
    """

    target: Reference
    record: Document
    contents: Mapping[str, Iterable[Any]]
    number: int | None = None

    @property
    def doing(self) -> str:
        """For errors."""
        return f"save model {self.target.path}"


class _Pieces(Iterable[Any]):
    """What a function gives, as often as it is asked for."""

    def __init__(self, make: Callable[..., Iterable[Any]], *given: Any) -> None:
        self._make, self._given = make, given

    def __iter__(self) -> Iterator[Any]:
        return iter(self._make(*self._given))


def prepare(store: Store, saving: Saving) -> Prepared:
    """Check all that is to be recorded; nothing is written.

    Raises:
        SettingsError: A name, metric or argument does not fit.
        ModelError: A type of model that is not known, or a form that it cannot be stored in.
        UnknownModelError: There is no such parent.
    """
    target = Reference.parse_target(saving.name)
    adapter = adapter_for(saving.model)
    metrics, tags = check_metrics(saving.metrics), check_tags(saving.tags)
    record: Document = {
        "tags": tags,
        "text": check_text("text", saving.text),
        "framework": adapter.name,
        "architecture": check_text("architecture", saving.architecture) or name_in_registry(saving.build),
        "build": name_of(saving.build),
        "args": check_args(saving.args),
        "metrics": metrics,
        "facts": facts_of(metrics, tags),
        "feed": feed_text(saving.feed),
        "rows": dict(getattr(saving.feed, "rows", {})),
        "learner": check_learner(saving.learner),
        "seconds": check_seconds(saving.seconds),
        "node": platform.node(),
        "environment": environment(adapter),
    }
    if saving.build is not None:
        check_build(saving.build, record["args"], target.path)
    record["parent"] = None if saving.parent is None else store.catalogue.version(_parse(saving.parent)).ref
    lineage = _lineage(saving.feed)
    record |= {"lineage": None, **lineage[0]}
    check_contents(saving.also, saving.curves)
    return Prepared(target, record, {**_contents(adapter, saving), **lineage[1]})


def _parse(ref: str | Version) -> Reference:
    return Reference.parse(str(ref))


def _lineage(feed: Any) -> tuple[Document, dict[str, Iterable[Any]]]:
    """Where the rows come from: in the record, or as a content if it is long; and the plan, to be kept."""
    told = getattr(feed, "lineage", None)
    if told is None:
        return {}, {}
    values = told()
    text = json.dumps(values, allow_nan=False)
    plan = {"plan": values["plan"]} if isinstance(values.get("plan"), str) else {}
    if len(text) > _LONG_TEXT:
        return plan, {"lineage": [text.encode()]}
    return {**plan, "lineage": text}, {}


def _contents(adapter: Adapter, saving: Saving) -> dict[str, Iterable[Any]]:
    """The contents of a version: the weights, and what else is given."""
    model = saving.model
    found: dict[str, Iterable[Any]] = {MODEL: _Pieces(adapter.dump, model)}
    if saving.optimizer is not None:
        found["optimizer"] = _Pieces(adapter.dump_optimizer, model, saving.optimizer)
    batch = _golden(adapter, saving)
    if batch is not None:
        found["golden"] = _Pieces(golden.dumped, batch)
    for form in [saving.also] if isinstance(saving.also, str) else saving.also:
        found[form] = [forms.made(form, adapter, model, batch)]
    if saving.curves is not None:
        found["curves"] = [saving.curves]
    return found


def _golden(adapter: Adapter, saving: Saving) -> dict[str, Any] | None:
    if saving.golden is False:
        return None
    if saving.golden is None:
        return golden.automatic(adapter, saving.model, saving.feed)
    return golden.given(adapter, saving.model, saving.golden)


def save(store: Store, saving: Saving) -> Version:
    """Store one model as the next version of its name; see :meth:`nemesyst.Models.save`."""
    prepared = prepare(store, saving)
    store.catalogue.prepare()
    return stored(store, [prepared], prepared.doing)[0]


def stored(store: Store, batch: Sequence[Prepared], doing: str) -> list[Version]:
    """Store contents, then insert the records of a batch in one transaction."""
    for attempt in range(_TIMES):
        contents = [contents_of(store, each, anew=attempt > 0) for each in batch]
        try:
            return insert(store, list(zip(batch, contents, strict=True)), doing)
        except blobs.CollectedError:  # an equal content was there, and was collected before we claimed it
            if attempt == _TIMES - 1:
                raise
    raise AssertionError(doing)


def contents_of(store: Store, prepared: Prepared, *, anew: bool = False) -> dict[str, blobs.Content]:
    """Store what is large, again if it is collected on the way; what a record says of the contents."""
    return {name: _content(store, pieces, prepared.doing, anew=anew) for name, pieces in prepared.contents.items()}


def _content(store: Store, pieces: Iterable[Any], doing: str, *, anew: bool) -> blobs.Content:
    for attempt in range(_TIMES):
        try:
            return store.blobs.store(pieces, doing, anew=anew)
        except blobs.CollectedError:
            if attempt == _TIMES - 1:
                raise
    raise AssertionError(doing)


def insert(store: Store, batch: Sequence[tuple[Prepared, dict[str, blobs.Content]]], doing: str) -> list[Version]:
    """Insert records under the next numbers; two savers at once conflict, and one takes the number after.

    Raises:
        CollectedError: A blob was collected meanwhile; nothing was inserted.
    """
    catalogue = store.catalogue

    def work(session: Any) -> list[Document]:
        check_free(store, [prepared for prepared, _ in batch], session)
        last = catalogue.last_numbers((prepared.target for prepared, _ in batch), session)
        now = catalogue.now()
        documents, held = [], set()
        for prepared, contents in batch:
            path = prepared.target.name, prepared.target.entity
            number = prepared.number or last.get(path, 0) + 1
            last[path] = max(last.get(path, 0), number)
            first = {"name": path[0], "entity": path[1], "number": number, "created": now, "aliases": []}
            named = stored_as(contents)
            held.update(named["blobs"])
            documents.append({**first, **prepared.record, **named})
        store.blobs.claim(sorted(held), session)
        catalogue.insert(documents, session)
        return documents

    made = store.connection.transaction(doing, work)
    return [replace(version_of(each), created=each["created"].replace(tzinfo=UTC)) for each in made]


def check_free(store: Store, batch: Sequence[Prepared], session: Any = None) -> None:
    """Refuse versions whose number was given before.

    Raises:
        ModelError: One was; names it.
    """
    for prepared in batch:
        if prepared.number is None:
            continue
        wanted = {**at(prepared.target), "number": prepared.number}
        for place, what in ((store.catalogue.versions, "there already"), (store.catalogue.tombstones, "deleted here")):
            if place.find_one(wanted, {"_id": 1}, session=session) is not None:
                raise ModelError(
                    f"{prepared.target.path}@{prepared.number} is {what}, and a number is given once",
                    "Import with numbers='next' (the default), which gives each version its next number.",
                )

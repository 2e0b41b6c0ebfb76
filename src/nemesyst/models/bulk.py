"""Many models in one call: batches of records, each inserted whole, while the next models are turned into bytes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from nemesyst.database import blobs
from nemesyst.errors import NemesystError, SettingsError, nearest
from nemesyst.models.saving import Prepared, Saving, contents_of, insert, prepare, stored

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

    from nemesyst.models.store import Store
    from nemesyst.types import Version

_RECORDS = 200
_BYTES = 8 << 20
"""Records and bytes of a batch at most: one transaction each."""

_THREADS = 3
"""Batches that are on their way at once: most of their time they wait for the disks of a majority."""

_COMMON = [field.name for field in fields(Saving) if field.name not in ("model", "name")]
_DEFAULTS = {field.name: field.default for field in fields(Saving)}

_Batch = list[tuple[Prepared, dict[str, blobs.Content]]]


def save_many(store: Store, savings: Iterable[Any], common: Mapping[str, Any]) -> list[Version]:
    """Store many models; see :meth:`nemesyst.Models.save_many`."""
    if unknown := [name for name in common if name not in _COMMON]:
        raise SettingsError(f"save_many({unknown[0]}=...): there is no such argument", nearest(unknown[0], _COMMON))
    if not isinstance(savings, Iterable):
        raise SettingsError(f"save_many({savings!r:.80})", "Give a list of pairs (name, model).")
    prepared: Iterable[Prepared] = (_prepared(store, each, common) for each in savings)
    if isinstance(savings, list | tuple):
        prepared = list(prepared)  # all is checked before the first write
    store.catalogue.prepare()
    done: list[Version] = []
    running: deque[tuple[set[str], Future[list[Version]]]] = deque()
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="nemesyst-save") as threads:
        for batch in _batches(store, prepared):  # the next models are turned into bytes while others are stored
            paths = {each.target.path for each, _ in batch}
            while len(running) >= _THREADS or any(paths & others for others, _ in running):  # numbers follow the order
                done += running.popleft()[1].result()
            running.append((paths, threads.submit(_insert, store, batch)))
        for _, future in running:
            done += future.result()
    return done


def _prepared(store: Store, given: Any, common: Mapping[str, Any]) -> Prepared:
    if isinstance(given, Saving):
        own = {name: getattr(given, name) for name in _COMMON if getattr(given, name) is not _DEFAULTS[name]}
        saving = replace(given, **{**common, **own})
    elif isinstance(given, tuple) and len(given) == 2:
        saving = Saving(given[1], given[0], **common)
    else:
        raise SettingsError(
            f"save_many: a {type(given).__name__} is no model to save",
            "Give pairs (name, model), or nm.Saving(model, name, metrics=...).",
        )
    try:
        return prepare(store, saving)
    except NemesystError as error:
        raise type(error)(f"save model {saving.name}: {error.message}", error.remedy) from error


def _batches(store: Store, prepared: Iterable[Prepared]) -> Iterator[_Batch]:
    batch: _Batch = []
    size = 0
    for each in prepared:
        contents = contents_of(store, each)
        batch.append((each, contents))
        size += sum(len(content.data) for content in contents.values() if content.data is not None)
        if len(batch) >= _RECORDS or size >= _BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _insert(store: Store, batch: _Batch) -> list[Version]:
    doing = f"save {len(batch)} models"
    try:
        return insert(store, batch, doing)
    except blobs.CollectedError:
        return stored(store, [prepared for prepared, _ in batch], doing)

"""Results in the state database: found again while version and rows are the same."""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import translated, update_all
from nemesyst.errors import AccessError, ModelError
from nemesyst.models import shapes
from nemesyst.models.evaluation.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemesyst.models.reference import Reference
    from nemesyst.models.store import Store


class Evaluations:
    """Stored results: one document for each version (baseline, function), metric and set of rows; each about 10 KB.

    Args:
        store: Where the registry is.
    """

    def __init__(self, store: Store) -> None:
        self._collection = store.catalogue.evaluations
        self._indexed = False

    def put(self, results: Sequence[tuple[str, Result]], *, source: str, kin: str) -> bool:
        """Store results, each with the identity of its candidate; False without the right to write."""
        if not results:
            return True
        try:
            with translated("store what an evaluation found"):
                self._prepare()
                keys = [
                    {"identity": identity, "definition": result.definition, "rows": result.rows}
                    for identity, result in results
                ]
                if source:  # rows may have changed under a cutoff: only one result is that of its rows
                    others = [{**key, "rows": {"$ne": key["rows"]}, "source": source} for key in keys]
                    self._collection.update_many({"$or": others}, {"$set": {"source": ""}})
                when = {"$currentDate": {"when": True}}
                changes = [{"$set": {**_document(each), "source": source, "kin": kin}, **when} for _, each in results]
                update_all(self._collection, list(zip(keys, changes, strict=True)), upsert=True)
        except AccessError:
            return False
        return True

    def of_source(self, source: str, identities: Sequence[str]) -> dict[tuple[str, str], Result]:
        """Results over the rows of a source, by identity and definition of the metric."""
        return self._found({"identity": {"$in": list(identities)}, "source": source}) if source else {}

    def of_rows(self, rows: str, inputs: str, identities: Sequence[str]) -> dict[tuple[str, str], Result]:
        """Results over the same samples with the same inputs, by identity and definition of the metric."""
        return self._found({"identity": {"$in": list(identities)}, "rows": rows, "inputs": inputs})

    def has_kin(self, kin: str, identities: Sequence[str]) -> bool:
        """Whether there are results over rows that were asked for in the same way, at another time."""
        with translated("look for earlier evaluations"):
            return self._collection.find_one({"identity": {"$in": list(identities)}, "kin": kin}) is not None

    def of_version(self, ref: Reference, limit: int = 200) -> list[Result]:
        """The results of a version, the newest first."""
        wanted = {"name": ref.name, "entity": ref.entity, "number": ref.selector}
        return self._newest(wanted, limit)

    def of_name(self, name: str, entity: str | None, limit: int = 500) -> list[Result]:
        """The results of all versions of a name and entity, the newest first."""
        return self._newest({"name": name, "entity": entity}, limit)

    def beside(self, rows: str, limit: int = 100) -> list[Result]:
        """All results over the same samples."""
        return self._newest({"rows": rows}, limit)

    def _newest(self, wanted: Mapping[str, Any], limit: int) -> list[Result]:
        with translated("look for evaluations"):
            return [_result(each) for each in self._collection.find(wanted, sort=[("when", -1)], limit=limit)]

    def _found(self, wanted: Mapping[str, Any]) -> dict[tuple[str, str], Result]:
        with translated("look for earlier evaluations"):
            made = [(each, _result(each)) for each in self._collection.find(wanted)]
        return {(each["identity"], each["definition"]): result for each, result in made}

    def _prepare(self) -> None:
        if not self._indexed:
            self._collection.create_index([("identity", 1), ("definition", 1), ("rows", 1)], unique=True)
            self._collection.create_index([("name", 1), ("entity", 1), ("number", 1), ("when", -1)])
            self._collection.create_index([("rows", 1), ("when", -1)])
            self._indexed = True


def _document(result: Result) -> dict[str, Any]:
    from nemesyst.models.reference import Reference

    left_out = ("sums", "shown", "when", "found", "definition", "rows", "metric", "caution")
    values = {name: value for name, value in vars(result).items() if name not in left_out}
    values |= {"metric": result.metric, "node": platform.node(), "origin": dict(result.origin)}
    if result.kind == "version":
        ref = Reference.parse(result.candidate)
        values |= {"name": ref.name, "entity": ref.entity, "number": ref.selector}
    if result.sums is not None:
        values |= {"sums": result.sums.astype("<f8").tobytes(), "columns": result.sums.shape[1]}
    if result.shown is not None:
        values["shown"] = {name: np.asarray(each, "<f4").tobytes() for name, each in result.shown.items()}
    return values


def _result(document: Mapping[str, Any]) -> Result:
    """Read a stored result.

    Raises:
        ModelError: It has been edited, and lacks something or holds another type.
    """
    for name, fits in _FITS.items():
        if not fits(document.get(name)):
            raise _damaged(document, name)
    sums, shown = document.get("sums"), document.get("shown") or {}
    columns = document.get("columns")
    if sums is not None:
        if not shapes.is_count(columns) or not columns or len(sums) % (8 * columns):
            raise _damaged(document, "sums")
        sums = np.frombuffer(sums, "<f8").reshape(-1, columns)
    made = Result(**{name: document[name] for name in _PLAIN})
    return replace(
        made,
        when=document["when"].replace(tzinfo=UTC),
        found=True,
        inputs=document.get("inputs") or "",
        sums=sums,
        shown={name: np.frombuffer(each, "<f4").tolist() for name, each in shown.items()} or None,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_origin(value: object) -> bool:
    if not isinstance(value, dict) or not shapes.is_json(value):
        return False
    as_of = value.get("as_of")
    return as_of is None or (isinstance(as_of, list) and len(as_of) == 2 and all(map(shapes.is_count, as_of)))


def _is_shown(value: object) -> bool:
    if not isinstance(value, dict | None):
        return False
    return all(isinstance(each, bytes) and len(each) % 4 == 0 for each in (value or {}).values())


_PLAIN: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("candidate", "kind", "metric", "definition", "rows"), shapes.is_text),
    "better": lambda value: value in (None, "lower", "higher"),
    **dict.fromkeys(("value", "low", "high", "confidence"), _is_number),
    **dict.fromkeys(("samples", "of", "bad"), shapes.is_count),
    "origin": _is_origin,
}
"""Fields that are stored as they are, and whether one still fits."""

_FITS: Mapping[str, Callable[[Any], bool]] = {
    **_PLAIN,
    "identity": shapes.is_text,
    "inputs": lambda value: value is None or shapes.is_text(value),
    "when": lambda value: isinstance(value, datetime),
    "sums": lambda value: isinstance(value, bytes | None),
    "shown": _is_shown,
}


def _damaged(document: Mapping[str, Any], field: str) -> ModelError:
    what = f"{document.get('metric')!r:.100} of {document.get('candidate')!r:.200}"
    return ModelError(
        f"the evaluation of {what} in the state database is damaged: its {field} is missing or of another type",
        f"Delete the document of evaluations with _id {document.get('_id')!r:.100}, and find out who writes to the "
        "state database; refresh=True computes it again.",
    )

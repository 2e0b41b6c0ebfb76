"""Results in the state database: found again while version and rows are the same."""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.database import translated
from nemesyst.errors import AccessError
from nemesyst.models.evaluation.results import Result

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
                for identity, result in results:
                    key = {"identity": identity, "definition": result.definition, "rows": result.rows}
                    changes = {
                        "$set": {**_document(result), "source": source, "kin": kin},
                        "$currentDate": {"when": True},
                    }
                    if source:  # rows may have changed under a cutoff: only one result is that of its rows
                        others = {**key, "rows": {"$ne": result.rows}, "source": source}
                        self._collection.update_many(others, {"$set": {"source": ""}})
                    self._collection.update_one(key, changes, upsert=True)
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
            return {(each["identity"], each["definition"]): _result(each) for each in self._collection.find(wanted)}

    def _prepare(self) -> None:
        if not self._indexed:
            self._collection.create_index([("identity", 1), ("definition", 1), ("rows", 1)], unique=True)
            self._collection.create_index([("name", 1), ("entity", 1), ("number", 1), ("when", -1)])
            self._collection.create_index([("rows", 1), ("when", -1)])
            self._indexed = True


def _document(result: Result) -> dict[str, Any]:
    from nemesyst.models.reference import Reference

    left_out = ("sums", "shown", "when", "found", "definition", "rows", "metric")
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
    names = [name for name in Result.__dataclass_fields__ if name not in ("sums", "shown", "when", "found", "inputs")]
    sums = document.get("sums")
    if sums is not None:
        sums = np.frombuffer(sums, "<f8").reshape(-1, document["columns"])
    shown = {name: np.frombuffer(each, "<f4").tolist() for name, each in (document.get("shown") or {}).items()}
    when = document["when"]
    made = Result(**{name: document[name] for name in names})
    return replace(
        made,
        when=when.replace(tzinfo=UTC) if isinstance(when, datetime) else None,
        found=True,
        inputs=document.get("inputs", ""),
        sums=sums,
        shown=shown or None,
    )

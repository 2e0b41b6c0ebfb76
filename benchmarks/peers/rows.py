"""Rows of a collection through PyMongoArrow or Ray's read_mongo, into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from answering import answer

if TYPE_CHECKING:
    from collections.abc import Callable


def make(what: dict[str, Any]) -> Callable[[], object]:
    return {"pymongoarrow": arrow, "ray": with_ray}[what["library"]](what)


def schema(what: dict[str, Any]) -> Any:
    import pyarrow as pa  # type: ignore[import-not-found,unused-ignore]
    from pymongoarrow.api import Schema  # type: ignore[import-not-found,unused-ignore]

    kind = pa.list_(pa.float64()) if what["lists"] else pa.float64()
    return Schema(dict.fromkeys(what["fields"], kind))


def arrow(what: dict[str, Any]) -> Callable[[], object]:
    from pymongo import MongoClient
    from pymongoarrow.api import find_arrow_all  # type: ignore[import-not-found,unused-ignore]

    collection: Any = MongoClient(what["address"])[what["database"]][what["collection"]]
    fields = schema(what)
    return lambda: find_arrow_all(collection, {}, schema=fields)


def with_ray(what: dict[str, Any]) -> Callable[[], object]:
    import ray  # type: ignore[import-not-found,unused-ignore]

    ray.init(log_to_driver=False, include_dashboard=False)
    fields = schema(what)

    def work() -> object:
        found = ray.data.read_mongo(what["address"], what["database"], what["collection"], schema=fields)
        return found.materialize()

    return work


if __name__ == "__main__":
    answer(make)

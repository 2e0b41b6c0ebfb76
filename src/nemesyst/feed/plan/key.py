"""The fields along which a collection is cut into chunks, and the filter of the rows between two bounds.

A query's comparison sees only values of its own BSON type (``{"$gte": 5}`` finds no text), while an index holds
all types in one order. A chunk therefore ends where the type of its first field changes, and what lies between
two bounds of one type is exactly what their comparisons find. Of the fields after the first one the types are
compared, too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.codec_options import CodecOptions, DatetimeConversion

Query = dict[str, Any]
Bound = tuple[Any, ...]
"""Values of a key's fields in one document."""

EXACT: CodecOptions[Mapping[str, Any]] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)
"""Decodes a bound so that it is encoded to the same bytes again, whatever its dates."""
_ABSENT = None  # in a sort and in a comparison for equality an absent field counts as null


@dataclass(frozen=True)
class Key:
    """Fields of a key in their order; several documents may have one key, and are never divided.

    Args:
        fields: The fields, such as ``("unit", "t")``.
    """

    fields: tuple[str, ...] = ("_id",)

    @property
    def sort(self) -> dict[str, int]:
        """The order of the key, as the server takes it."""
        return dict.fromkeys(self.fields, 1)

    @property
    def exact_sort(self) -> dict[str, int]:
        """The order of the key, and by ``_id`` where that is not in it: no two documents are alike."""
        return dict.fromkeys([*self.fields, "_id"], 1)

    @property
    def projection(self) -> dict[str, int]:
        """The fields alone, as the server takes it."""
        return {"_id": int("_id" in self.fields), **{name: 1 for name in self.fields if name != "_id"}}

    def of(self, document: Mapping[str, Any]) -> Bound:
        """The bound that a document lies on."""
        return tuple(_at(document, name) for name in self.fields)

    def rows(self, low: Bound, high: Bound | None) -> Query:
        """The documents from ``low`` on, up to but without ``high`` (None: to the last one of ``low``'s type)."""
        first, kind = self.fields[0], type_of(low[0])
        if not self.divides(low):
            return {first: _all_of(kind)}
        ends = high is not None and type_of(high[0]) == kind
        if len(self.fields) == 1:
            return {first: _from(low[0], kind) | ({"$lt": high[0]} if ends and high is not None else {})}
        wholly = _from(low[0], kind) | ({"$lte": high[0]} if ends and high is not None else {})
        parts: list[Query] = [{first: wholly}, {"$nor": [_below(self.fields, low)]}]
        if ends and high is not None:
            parts.append(_below(self.fields, high))
        return {"$and": parts}

    def after(self, bound: Bound) -> Query:
        """The documents of a bound's type that lie on it or after it."""
        return self.rows(bound, None)

    def beyond(self, bound: Bound) -> Query:
        """The documents of a bound's type that lie after it."""
        same = {"$and": [{name: {"$eq": value}} for name, value in zip(self.fields, bound, strict=True)]}
        return {"$and": [self.after(bound), {"$nor": [same]}]}

    def divides(self, bound: Bound) -> bool:
        """Whether the documents of a bound's type can be divided; no query compares regular expressions."""
        return type_of(bound[0]) != "regex"

    def later_types(self, bound: Bound) -> list[Query]:
        """The documents whose first field is of a later type than the bound's: a query for each, in their order."""
        rank = _RANK[type_of(bound[0])]
        first = self.fields[0]
        never = ("array", "regex") if first == "_id" else ()  # the server allows no such _id
        return [{first: _all_of(kind)} for kind in _order() if _RANK[kind] > rank and kind not in never]


def alike(one: Bound, other: Bound) -> bool:
    """Whether two bounds are the same to the server; NaN, which is not equal to itself in Python, is."""
    return one == other or bool(encode({"": list(one)}) == encode({"": list(other)}))


BY_ID = Key()
"""The order of ``_id``."""


def type_of(value: Any) -> str:
    """The class of BSON types that a value is compared within."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, Decimal128) and value.to_decimal().is_nan():
        return "nan"
    if isinstance(value, Code) and value.scope is not None:
        return "javascriptWithScope"
    for kinds, name in _TYPES:
        if isinstance(value, kinds):
            return name
    raise TypeError(f"a key of type {type(value).__name__}")


_TYPES: tuple[tuple[Any, str], ...] = (
    (MinKey, "minKey"),
    (type(None), "null"),
    (Code, "javascript"),  # a str to Python
    (bool, "bool"),
    ((int, float, Int64, Decimal128), "number"),
    (str, "string"),
    ((Mapping, DBRef), "object"),
    ((list, tuple), "array"),
    ((Binary, bytes), "binData"),
    (ObjectId, "objectId"),
    ((datetime, DatetimeMS), "date"),
    (Timestamp, "timestamp"),
    (Regex, "regex"),
    (MaxKey, "maxKey"),
)
_RANK = {
    name: place
    for place, name in enumerate(
        (
            "minKey",
            "null",
            "nan",
            "number",
            "string",
            "object",
            "array",
            "binData",
            "objectId",
            "bool",
            "date",
            "timestamp",
            "regex",
            "javascript",
            "javascriptWithScope",
            "maxKey",
        )
    )
}
"""Types in the server's order: https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/"""

_SINGLE = {"minKey": MinKey(), "null": _ABSENT, "nan": math.nan, "maxKey": MaxKey()}
"""Types of one value, which comparisons treat in ways of their own."""


_LEAST: dict[str, Any] = {
    "number": -math.inf,
    "string": "",
    "object": {},
    "binData": Binary(b""),
    "objectId": ObjectId(bytes(12)),
    "bool": False,
    "date": DatetimeMS(-(2**63)),
    "timestamp": Timestamp(0, 0),
}
"""The least value of a type: with it a range is bounded on a clustered collection too."""


def least_after(kind: str) -> Any:
    """The least value of the type that follows in the server's order; None where the type has no bounds of its own."""
    if kind not in _LEAST:
        return None
    return next((_LEAST[each] for each in _order() if _RANK[each] > _RANK[kind] and each in _LEAST), MaxKey())


def _all_of(kind: str) -> Query:
    if kind in _SINGLE:
        return {"$eq": _SINGLE[kind]}
    return {"$gte": _LEAST[kind]} if kind in _LEAST else {"$type": kind}


def _from(value: Any, kind: str) -> Query:
    return {"$eq": value} if kind in _SINGLE else {"$gte": value}


def _below(fields: tuple[str, ...], bound: Bound) -> Query:
    """What comes before a bound among the documents whose first field is of the bound's type."""
    name, value = fields[0], bound[0]
    least: Query = {name: {"$lt": value}}
    if len(fields) == 1:
        return least
    lower = [{fields[1]: _all_of(kind)} for kind in _order() if _RANK[kind] < _RANK[type_of(bound[1])]]
    return {"$or": [least, {"$and": [{name: {"$eq": value}}, {"$or": [*lower, _below(fields[1:], bound[1:])]}]}]}


def _order() -> list[str]:
    return sorted(_RANK, key=_RANK.__getitem__)


def _at(document: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(document, Mapping) or part not in document:
            return _ABSENT
        document = document[part]
    return document

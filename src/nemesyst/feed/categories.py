"""Texts, whole numbers and booleans as integer codes, fixed on the train part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FieldError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

Array = np.ndarray[Any, Any]
Value = str | int | bool

LIMIT = 100_000
"""Different values that a field may have in the train part."""

_FIRST_ROWS = 1024
_NAMES: dict[type, str] = {str: "texts", int: "whole numbers", bool: "booleans"}


@dataclass(frozen=True)
class Categories:
    """The values that fields had in the train part, sorted; a value's place is its code.

    Attributes:
        values: By field; all of one field are texts, whole numbers or booleans.
    """

    values: Mapping[str, tuple[Value, ...]]

    @cached_property
    def _lookups(self) -> dict[str, _Lookup]:
        return {field: _Lookup(field, values) for field, values in self.values.items()}

    def encode(self, field: str, values: Array) -> Array:
        """The code of each value: int64, of the same shape.

        A value that the train part does not have, or None, gets a code of its own: the number of known values.

        Raises:
            FieldError: The values are of another kind than those of the train part.
        """
        return self._lookups[field].codes(values.reshape(-1)).reshape(values.shape)

    def decode(self, field: str, codes: Array) -> Array:
        """The value of each code, None for that of unseen values; objects, of the same shape."""
        known = np.empty(len(self.values[field]) + 1, object)
        known[:-1] = self.values[field]
        found: Array = known[codes]
        return found

    def code_of(self, field: str) -> dict[Value, int]:
        """The code of each known value of a field."""
        return {value: code for code, value in enumerate(self.values[field])}

    def count(self, field: str) -> int:
        """How many codes a field has, with that of unseen values."""
        return len(self.values[field]) + 1

    def as_dict(self) -> dict[str, list[Value]]:
        """The values as JSON values."""
        return {field: list(values) for field, values in self.values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[Value]]) -> Self:
        """Make categories from what :meth:`as_dict` gave."""
        return cls({field: tuple(known) for field, known in values.items()})


class CategoryCollector:
    """Takes the train part's values in any order and portions; the categories depend on the set of values alone.

    Args:
        fields: Names of the fields.
        limit: Different values that a field may have.
    """

    def __init__(self, fields: Sequence[str], limit: int = LIMIT) -> None:
        self._limit = limit
        self._found: dict[str, set[Value]] = {field: set() for field in fields}
        self._lookups: dict[str, _Lookup] = {}

    def add(self, field: str, values: Array) -> None:
        """Take values of a field, of any shape; None (and NaN among whole numbers) is left out.

        Raises:
            FieldError: They are neither texts, whole numbers nor booleans, not of one kind, or too many different ones.
        """
        values = values.reshape(-1)
        # the first rows have most of the values, and make the rest quick to look up
        for portion in (values[:_FIRST_ROWS], values[_FIRST_ROWS:]):
            known = self._lookups.get(field)
            new = portion if known is None else portion[known.codes(portion) == len(known)]
            if len(new):
                self._take(field, _different(field, new))

    def merge(self, other: Self) -> None:
        """Take all values that another one has taken."""
        for field, values in other._found.items():
            self._take(field, values)

    def _take(self, field: str, values: set[Value]) -> None:
        _one_kind(field, [*values, *self._found[field]])
        found = self._found[field] | values
        if len(found) == len(self._found[field]):
            return
        if len(found) > self._limit:
            raise FieldError(
                f"categories: field {field} has more than {self._limit:,} different values in the train part",
                "Group them in the pipeline, or leave the field out: it names rows more than it describes them.",
            )
        self._found[field] = found
        self._lookups[field] = _Lookup(field, tuple(sorted(found)))

    def categories(self) -> Categories:
        """The values so far, sorted (texts by code point)."""
        return Categories({field: tuple(sorted(found)) for field, found in self._found.items()})


class _Lookup:
    """Codes of values, many at once."""

    def __init__(self, field: str, values: Sequence[Value]) -> None:
        self._field = field
        self._kind: type = type(values[0]) if values else type(None)
        self._codes: dict[Any, int] = {value: code for code, value in enumerate(values)}
        self._known = np.array(values) if values else np.empty(0, "U1")
        # a text is found by its hash, and then compared; two of one hash (never seen) are searched for as texts
        hashes = _hashes(self._known) if self._kind is str else np.empty(0, np.uint64)
        self._order = np.argsort(hashes)
        self._sorted = hashes[self._order]
        self._hashed = len(np.unique(hashes)) == len(values)

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, values: Array) -> Array:
        if not len(self):
            return np.zeros(len(values), np.int64)
        kind = values.dtype.kind
        if kind == "O":
            unseen = len(self)
            found = (self._codes.get(v, unseen) if type(v) is self._kind else unseen for v in values.tolist())
            return np.fromiter(found, np.int64, len(values))
        fitting = {str: "U", bool: "b", int: "iuf"}[self._kind]
        if kind not in fitting:
            raise FieldError(
                f"categories: field {self._field} held {_NAMES[self._kind]} in the train part, and now {values.dtype}",
                "Bring them to one kind in the pipeline ($toString, $toInt).",
            )
        if kind == "U" and self._hashed:
            return self._compared(values, self._order, np.searchsorted(self._sorted, _hashes(values)))
        return self._compared(values, np.arange(len(self)), np.searchsorted(self._known, values))

    def _compared(self, values: Array, order: Array, places: Array) -> Array:
        codes = order[np.minimum(places, len(self) - 1)].astype(np.int64)
        codes[self._known[codes] != values] = len(self)
        return codes


def _one_kind(field: str, values: Sequence[Any]) -> None:
    kinds = {type(value) for value in values}
    if len(kinds) > 1:
        raise FieldError(
            f"categories: field {field} holds {' and '.join(sorted(_NAMES[kind] for kind in kinds))}",
            "Bring them to one kind in the pipeline ($toString, $toInt).",
        )


def _different(field: str, values: Array) -> set[Value]:
    """The different values, as Python's own."""
    if values.dtype.kind in "Ubiu":
        return set(np.unique(values).tolist())
    if values.dtype.kind == "f":
        values = np.unique(values[~np.isnan(values)])
        if (values == np.floor(values)).all() and (np.abs(values) < 2**63).all():
            return set(values.astype(np.int64).tolist())
        odd: Any = values[(values != np.floor(values)) | (np.abs(values) >= 2**63)][0]
    else:
        there = [value for value in values.tolist() if value is not None]
        strange = [value for value in there if type(value) not in _NAMES]
        if not strange:
            _one_kind(field, there)  # before True and 1 become one
            return set(there)
        odd = strange[0]
    raise FieldError(
        f"categories: field {field} holds {odd!r:.50}; only texts, whole numbers and booleans can be categories",
        "Turn it into one in the pipeline ($toString, $toInt).",
    )


def _hashes(values: Array) -> Array:
    """A hash of each text that does not depend on the array's width; shape (n,), uint64."""
    width = values.dtype.itemsize // 4
    hashes = np.zeros(len(values), np.uint64)
    if width:
        letters = np.ascontiguousarray(values).view(np.uint32).reshape(len(values), width)
        for column, factor in enumerate(_factors(width)):
            hashes += letters[:, column] * factor
    return hashes


@cache
def _factors(width: int) -> Array:
    """Odd numbers of 64 bits, those of a smaller width first; what they are changes no code."""
    return np.random.default_rng(0).integers(0, 2**64, width, np.uint64) | np.uint64(1)

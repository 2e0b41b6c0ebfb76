"""Documents into arrays, one after another: what a column means, and how refusals read.

The decoder comes here with what it does not read from the bytes by itself, and is tested against it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from nemesyst.database import STAMP, is_packed, unpack
from nemesyst.errors import FieldError, nearest

Array = np.ndarray[Any, Any]
Document = Mapping[str, Any]
_ABSENT = object()


def column(documents: Sequence[Document], name: str, *, lists: type[np.floating[Any]] = np.float64) -> Array:
    """Make one array of a field: shape (rows,) for scalars, (rows, *shape) for arrays.

    Lists of numbers become ``lists``, integers int64, other numbers float64, booleans bool, dates
    datetime64[ms] (UTC), texts a NumPy text array; packed arrays keep their dtype; anything else becomes
    an array of objects.

    Raises:
        FieldError: The field is missing or null in some document, or shapes, dtypes or kinds differ.
    """
    values = [document.get(name, _ABSENT) for document in documents]
    if _ABSENT in values and "." in name:
        values = [_dotted(document, name) for document in documents]
    if any(value is _ABSENT or value is None for value in values):
        raise _missing(documents, name, values)
    first = values[0]
    if is_packed(first):
        return _packed(documents, name, values)
    if isinstance(first, list):
        return _lists(documents, name, values, lists)
    return _scalars(documents, name, values)


def _dotted(document: Document, name: str) -> Any:
    value: Any = document
    parts = name.split(".")
    for i, part in enumerate(parts):
        if isinstance(value, list):
            raise through_list(name, ".".join(parts[:i]), document.get("_id"))
        if not isinstance(value, Mapping) or part not in value:
            return _ABSENT
        value = value[part]
    return value


def through_list(name: str, way: str, document: object) -> FieldError:
    """The error of a dotted name that leads into a list.

    Args:
        name: The field.
        way: What of it leads to the list.
        document: The ``_id`` of a document that has the list.
    """
    index, _, rest = name.removeprefix(f"{way}.").partition(".")
    what, place = (rest, index) if index.isdecimal() else (name.removeprefix(f"{way}."), "0")
    return FieldError(
        f"field {name}: {way} is a list in document {document!r}, and dotted names do not lead into lists",
        f"Make a row of each element with {{'$unwind': '${way}'}}, or take one of them in the pipeline: "
        f"{{'$set': {{'one': {{'$arrayElemAt': ['${way}{'.' * bool(what)}{what}', {place}]}}}}}}.",
    )


def _packed(documents: Sequence[Document], name: str, values: Sequence[Any]) -> Array:
    if isinstance(values[0], Mapping):  # dtype, shape and bytes: the usual case, joined without a copy per row
        layouts = {(v["dtype"], tuple(v["shape"])) if is_packed(v) and isinstance(v, Mapping) else None for v in values}
        if len(layouts) == 1:
            dtype, shape = layouts.pop()  # type: ignore[misc]  # not None: the first value is packed
            if len({len(value["data"]) for value in values}) > 1:  # one of them is damaged: unpacking says so
                return _arrays(documents, name, [unpack(value) for value in values])
            return np.frombuffer(bytearray().join(v["data"] for v in values), np.dtype(dtype)).reshape(-1, *shape)
    return _arrays(documents, name, [unpack(value) for value in values])


def _lists(documents: Sequence[Document], name: str, values: Sequence[Any], dtype: type[np.floating[Any]]) -> Array:
    arrays = []
    for document, value in zip(documents, values, strict=True):
        try:
            array = np.array(value)
        except ValueError:  # ragged inside
            array = np.array(None)
        if array.dtype.kind not in "biuf":
            raise FieldError(
                f"field {name}: the list of document {document.get('_id')!r} is ragged or holds other than numbers",
                "Mend it in the pipeline, or leave the document out with $match.",
            )
        arrays.append(array.astype(dtype))
    return _arrays(documents, name, arrays)


def _arrays(documents: Sequence[Document], name: str, arrays: Sequence[Any]) -> Array:
    first = arrays[0]
    for document, array in zip(documents, arrays, strict=True):
        got = (array.dtype, array.shape) if isinstance(array, np.ndarray) else type(array).__name__
        if got != (first.dtype, first.shape):
            shown = f"{got[0]} {got[1]}" if isinstance(got, tuple) else got
            raise FieldError(
                f"field {name}: document {documents[0].get('_id')!r} holds {first.dtype} {first.shape}, "
                f"and document {document.get('_id')!r} holds {shown}: they cannot be stacked",
                "Bring them to one shape and type before storing them, or leave some out with $match.",
            )
    return np.stack(arrays)


def _scalars(documents: Sequence[Document], name: str, values: Sequence[Any]) -> Array:
    kinds = {_scalar_kind(value) for value in values}
    if kinds <= {"bool"}:
        return np.array(values, np.bool_)
    if kinds <= {"int"}:
        return np.array(values, np.int64)
    if kinds <= {"int", "float", "bool"}:
        return np.array(values, np.float64)
    if kinds <= {"date"}:
        return np.array(values, "datetime64[ms]")
    if kinds <= {"text"}:
        return np.array(values)
    if len(kinds) == 1:
        objects = np.empty(len(values), object)
        objects[:] = values
        return objects
    odd = next(i for i, value in enumerate(values) if _scalar_kind(value) != _scalar_kind(values[0]))
    raise FieldError(
        f"field {name}: document {documents[0].get('_id')!r} holds {values[0]!r:.50}, "
        f"and document {documents[odd].get('_id')!r} holds {values[odd]!r:.50}: kinds differ",
        "Bring them to one kind in the pipeline ($toDouble, $toInt, $toString).",
    )


def _scalar_kind(value: object) -> str:  # noqa: PLR0911 - one kind after another
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, datetime):
        return "date"
    if isinstance(value, str):
        return "text"
    if hasattr(value, "to_decimal"):  # Decimal128
        return "decimal"
    return type(value).__name__


def _kind(values: Array) -> str:
    kinds = {"U": "texts", "M": "dates", "O": f"values of type {type(values.flat[0]).__name__}", "c": "complex numbers"}
    return kinds.get(values.dtype.kind, f"values of type {values.dtype}")


def _missing(documents: Sequence[Document], name: str, values: Sequence[Any]) -> FieldError:
    missing = [i for i, value in enumerate(values) if value is _ABSENT or value is None]
    document = documents[missing[0]]
    what = "null" if values[missing[0]] is None else "missing"
    known = [key for key in document if key not in (STAMP, "_id", name)]
    close = nearest(name, known) if what == "missing" else ""
    meant = f"D{close[1:]} " if close.startswith("did you mean") else ""
    return FieldError(
        f"field {name} is {what} in document {document.get('_id')!r} ({len(missing)} of {len(documents)} rows here)",
        f'{meant}Use missing="nan", missing="drop" or a number to stand for it, or leave such rows out with '
        f"{{'$match': {{'{name}': {{'$ne': null}}}}}}.",
    )

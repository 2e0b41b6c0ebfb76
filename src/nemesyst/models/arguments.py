"""Checks of what is saved beside the weights, before anything is written, and of build functions."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST = 2**63

_PLAIN: dict[type, tuple[type, ...]] = {
    int: (int,), float: (int, float), str: (str,), bool: (bool,), list: (list,), dict: (dict,)
}  # fmt: skip
"""Annotations whose values are checked, and the types that fit them."""


def check_metrics(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    """The metrics as plain floats; NaN is one, infinity is not.

    Raises:
        SettingsError: A name or a value does not fit; names it.
    """
    return {_key("metrics", name): _number(name, value) for name, value in _mapping("metrics", metrics).items()}


def _number(name: str, value: Any) -> float:
    where = f"metrics[{name!r}]"
    if isinstance(value, str | bytes | bool | np.bool_):
        raise SettingsError(f"{where} is {value!r}, not a number", "Give one number for each metric.")
    try:
        number = float(value)  # NumPy's scalars too, and tensors of one element
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise SettingsError(
            f"{where} is a {type(value).__name__}, not a number", "Give one number for each metric."
        ) from None
    if math.isinf(number):
        raise SettingsError(f"{where} is {number}", "Give a finite number, or NaN where there is none.")
    return number


def check_args(args: Mapping[str, Any] | None, field: str = "args") -> dict[str, Any]:
    """The arguments as JSON values that the database can hold.

    Raises:
        SettingsError: A name or a value does not fit; names it.
    """
    args = _mapping(field, args)
    return {_key(field, name): _json(f"{field}[{name!r}]", value) for name, value in args.items()}


def check_tags(tags: Mapping[str, Any] | None) -> dict[str, Any]:
    """The tags: text, numbers, booleans or None by name.

    Raises:
        SettingsError: A name or a value does not fit; names it.
    """
    found = check_args(tags, "tags")
    for name, value in found.items():
        if isinstance(value, list | dict):
            raise SettingsError(f"tags[{name!r}] is a {type(value).__name__}", "A tag is one text, number or boolean.")
    return found


def check_text(field: str, value: object) -> str | None:
    """A text, or None.

    Raises:
        SettingsError: It is something else.
    """
    if value is not None and not isinstance(value, str):
        raise SettingsError(f"{field}={value!r} is no text", f"Write {field}='...'.")
    return value


def _json(where: str, value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {_key(where, name): _json(f"{where}[{name!r}]", inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(f"{where}[{n}]", inner) for n, inner in enumerate(value)]
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    raise SettingsError(
        f"{where} is {value!r:.80}, a {type(value).__name__}, which JSON cannot hold",
        "Give text, finite numbers of 64 bits, true, false, none, and lists and dicts of them.",
    )


def _mapping(field: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SettingsError(f"{field} is a {type(value).__name__}, not a dict", f"Write {field}={{'name': value}}.")
    return value


def _key(where: str, name: object) -> str:
    if not isinstance(name, str) or not name or name.startswith("$") or "\0" in name:
        raise SettingsError(f"{where} has the name {name!r}", "A name is a text that does not start with $.")
    return name


def feed_text(feed: Any) -> str | None:
    """The specification of a feed, or of a mapping, as JSON text; the text keeps names such as ``$match`` as they are.

    Raises:
        SettingsError: It is neither, or JSON cannot hold it.
    """
    if feed is None:
        return None
    told = getattr(feed, "recorded", None) or getattr(feed, "as_dict", None)
    values = feed if told is None else told()
    try:
        return json.dumps(dict(values), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"feed is a {type(feed).__name__}, not a feed or a specification: {error}", "Pass what hub.feed gave."
        ) from None


def name_of(build: Callable[..., Any] | None) -> str | None:
    """What people call a function: module and name.

    Raises:
        SettingsError: It is no function.
    """
    if build is not None and not callable(build):
        raise SettingsError(f"build is {build!r}, not a function", "Give the function that makes the untrained model.")
    return None if build is None else f"{build.__module__}.{getattr(build, '__qualname__', build)}"


def check_build(build: Callable[..., Any], args: Mapping[str, Any], ref: str) -> None:
    """Compare arguments with the signature of the function that is to take them: names, and types where they are plain.

    Raises:
        ModelError: One is missing, unknown or of another type; names it.
    """
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):
        return  # a built-in type without a signature: calling it will tell
    given = f"{ref}: build={name_of(build)}{signature} does not fit the recorded arguments {dict(args)}"
    remedy = "Give a build function that takes the recorded arguments by name."
    try:
        signature.bind(**args)
    except TypeError as error:
        raise ModelError(f"{given}: {error}", remedy) from None
    for name, value in args.items():
        annotation = signature.parameters[name].annotation if name in signature.parameters else None
        kind = next((kind for kind in _PLAIN if annotation in (kind, kind.__name__)), None)
        if kind is not None and (not isinstance(value, _PLAIN[kind]) or (isinstance(value, bool) and kind is not bool)):
            raise ModelError(f"{given}: {name} is {value!r}, which is no {kind.__name__}", remedy)

"""Checks of what is saved beside the weights, before anything is written, and of build functions."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import ModelError, SettingsError
from nemesyst.models import shapes
from nemesyst.types import json_object

if TYPE_CHECKING:
    from collections.abc import Callable

_LARGEST = 2**63
_DEEPEST = 50
"""Values in values at most; the server takes 100 of everything."""

_WHOLE = "Give text of whole characters."

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
        raise SettingsError(f"{field}={value!r:.80} is no text", f"Write {field}='...'.")
    if value is not None and not shapes.is_text(value):
        raise SettingsError(f"{field}={value!r:.80} holds halves of characters (surrogates)", _WHOLE)
    return value


def check_learner(learner: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What trained a version, as JSON values.

    Raises:
        SettingsError: A name or a value does not fit; names it.
    """
    found = None if learner is None else check_args(learner, "learner")
    if found is not None and not shapes.is_learner(found):
        raise SettingsError(
            "learner: 'args' and 'git' are dicts, and 'function', 'script' and 'source' are texts",
            "Call what else you record by another name.",
        )
    return found


def _json(where: str, value: Any, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise SettingsError(f"{where:.80}... is nested more than {_DEEPEST} deep", "Give flatter values.")
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {_key(where, name): _json(f"{where}[{name!r}]", inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(f"{where}[{n}]", inner, depth + 1) for n, inner in enumerate(value)]
    if isinstance(value, str):
        return check_text(where, value)
    if isinstance(value, bool) or value is None:
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
    if not shapes.is_text(name):
        raise SettingsError(f"{where} has the name {name!r}, which holds halves of characters (surrogates)", _WHOLE)
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
        text = json.dumps(dict(values), allow_nan=False)
        json_object(text)  # as readers will
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(
            f"feed is a {type(feed).__name__}, not a feed or a specification: {error!s:.200}",
            "Pass what hub.feed gave.",
        ) from None
    return text


def check_seconds(given: object) -> float | None:
    """A time in s, or None.

    Raises:
        SettingsError: It is something else.
    """
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < float("inf"):
        raise SettingsError(f"seconds={given!r}", "Give the time that training took, in s.")
    return float(given)


def check_contents(also: object, curves: object) -> None:
    """Refuse what is no list of forms, and curves that are no bytes.

    Raises:
        SettingsError: One of them is something else.
    """
    if not isinstance(also, str | list | tuple):
        raise SettingsError(f"also={also!r:.80} names no forms", 'Write also="onnx".')
    if not isinstance(curves, bytes | None):
        raise SettingsError(f"curves is a {type(curves).__name__}, not bytes", "Give JSON text as bytes.")


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

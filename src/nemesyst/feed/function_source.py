"""What a function does, as text that can be kept and compared: its source, and the values that it brings along."""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import json
import linecache
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path, PurePath
from re import Pattern
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import xxhash

from nemesyst.errors import FeedError

_PYTHON_CLASS = 1 << 9
"""Flag of classes that are written in Python (Py_TPFLAGS_HEAPTYPE), whose state is in their attributes."""

_PLAIN = (int, float, complex, range, slice, date, time, timedelta, Decimal, PurePath, Pattern, np.generic, np.dtype)
"""Values whose ``repr`` says all."""

_NO_TEXT = ("RESUME", "COPY_FREE_VARS", "MAKE_CELL", "RETURN_GENERATOR", "RETURN_VALUE", "RETURN_CONST")
"""Instructions that stand for nothing within a lambda's body."""


def source_fingerprint(function: Callable[..., Any]) -> dict[str, Any]:
    """The fingerprint of a function, as JSON values.

    It covers the source text of the function and of all functions and classes of one's own that it names, and the
    values that they bring along: defaults, variables of the enclosing function, global names, arguments of
    ``functools.partial``, attributes of an object whose method it is. Functions and classes of installed packages are
    named, not read; so are modules, so what a function finds as ``settings.NOISE`` is not covered.

    Returns:
        ``name`` (module and name, for people), ``source`` (text, or None for a builtin) and ``digest`` (xxh3, 128 bits,
        in hex, of source and values; the module's name and the file's place do not matter).

    Raises:
        FeedError: The source is not to be had, or a value that it brings along (an open file, a random generator) has
            no text that says what it is.
    """
    found = _Reader().value(name_of(function), function)
    text = json.dumps(found, sort_keys=True, ensure_ascii=False)
    digest = xxhash.xxh3_128_hexdigest(text.encode("utf-8", "backslashreplace"))
    while "source" not in found and ("function" in found or "object" in found):
        found = found.get("function") or found["object"]
    return {"name": name_of(function), "source": found.get("source"), "digest": digest}


def name_of(function: Any) -> str:
    """What people call a function: module and name."""
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    module = getattr(named, "__module__", None)
    return f"{module}.{named.__qualname__}" if module else str(named.__qualname__)


class _Reader:
    """Turns values into JSON values that say what they are; functions and objects that meet themselves are named."""

    def __init__(self) -> None:
        self._open: set[int] = set()

    def value(self, where: str, value: Any) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, _PLAIN):
            return {"plain": repr(value)}
        if isinstance(value, ModuleType):
            return {"module": value.__name__}
        if id(value) in self._open:
            return {"again": getattr(value, "__qualname__", type(value).__qualname__)}
        self._open.add(id(value))
        try:
            if isinstance(value, list | tuple | set | frozenset | Mapping):
                return self._container(where, value)
            return self._function(where, value)
        finally:
            self._open.discard(id(value))

    def _container(self, where: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            inner = [[self.value(where, key), self.value(f"{where}[{key!r}]", each)] for key, each in value.items()]
        else:
            inner = [self.value(f"{where}[{i}]", each) for i, each in enumerate(value)]
        if isinstance(value, set | frozenset):
            inner.sort(key=json.dumps)
        return {type(value).__name__: inner}

    def _function(self, where: str, value: Any) -> Any:
        if isinstance(value, functools.partial):
            arguments = [value.args, dict(sorted(value.keywords.items()))]
            return {"function": self.value(where, value.func), "partial": self.value(where, arguments)}
        if isinstance(value, MethodType):
            return {"function": self.value(where, value.__func__), "of": self.value(where, value.__self__)}
        if isinstance(value, FunctionType | type | BuiltinFunctionType | np.ufunc):
            return self._code(where, value)
        if callable(value) and hasattr(value, "__qualname__") and _installed(value):
            return {"named": name_of(value)}  # a package's own kind of function
        return self._object(where, value)

    def _code(self, where: str, value: Any) -> Any:
        if isinstance(value, BuiltinFunctionType) and not isinstance(value.__self__, ModuleType | type | None):
            return {"builtin": value.__name__, "of": self.value(where, value.__self__)}
        if _installed(value):
            return {"named": name_of(value)}
        source = _source(where, value)
        if not isinstance(value, type):
            return {"source": source, "brings": self._brought(where, value)}
        bases = [self.value(where, base) for base in value.__bases__]
        methods = [getattr(each, "__func__", None) or getattr(each, "fget", each) for each in vars(value).values()]
        written = [each for each in methods if isinstance(each, FunctionType) and _written(each)]
        return {"source": source, "bases": bases, "brings": [self._brought(where, each) for each in written]}

    def _brought(self, where: str, function: FunctionType) -> dict[str, Any]:
        return {name: self.value(f"{name} of {where}", each) for name, each in _brought(function)}

    def _object(self, where: str, value: Any) -> Any:
        if isinstance(value, bytes | bytearray):
            return {"bytes": xxhash.xxh3_128_hexdigest(value)}
        if isinstance(value, np.ndarray) and value.dtype != object:
            return {"array": [str(value.dtype), list(value.shape), xxhash.xxh3_128_hexdigest(value.tobytes())]}
        kind = type(value)
        python = all(base is object or base.__flags__ & _PYTHON_CLASS for base in kind.__mro__)
        if not python or not hasattr(value, "__dict__") or any(vars(base).get("__slots__") for base in kind.__mro__):
            raise FeedError(
                f"map: {where} is a {name_of(kind)}, of which there is no text for the fingerprint",
                "Make it inside the function, or use plain values, NumPy arrays or functions instead; for random "
                "numbers take a second argument: def f(batch, rng).",
            )
        return {"object": self.value(where, kind), "state": self.value(where, dict(sorted(vars(value).items())))}


def _installed(value: Any) -> bool:
    """Whether it comes with Python, an installed package or Nemesyst, so that its name says enough."""
    if isinstance(value, BuiltinFunctionType | np.ufunc):
        return True
    module = str(getattr(value, "__module__", None) or "builtins")
    file = value.__code__.co_filename if isinstance(value, FunctionType) else _file_of(module)
    if module.partition(".")[0] == "nemesyst":
        return True
    if file is None or file.startswith("<frozen"):
        return module != "__main__"
    return _in_package(file)


def _in_package(file: str) -> bool:
    inside = {"site-packages", "dist-packages"} & set(Path(file).parts)
    return bool(inside) or Path(file).is_relative_to(sysconfig.get_path("stdlib"))


def _written(function: FunctionType) -> bool:
    """Whether it stands in a file of one's own; not so the methods that ``dataclass`` makes."""
    file = function.__code__.co_filename
    return not file.startswith("<") and not _in_package(file)


def _file_of(module: str) -> str | None:
    file = getattr(sys.modules.get(module), "__file__", None)
    return None if file is None else str(file)


def _brought(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Names and values that a function finds without being given them."""
    defaults = function.__defaults__ or ()
    for number, value in enumerate(defaults):
        yield f"default {number - len(defaults)}", value
    for name, value in sorted((function.__kwdefaults__ or {}).items()):
        yield f"default {name}", value
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet: whoever calls it then gets a NameError
            yield name, None
    for name in sorted(_global_names(function.__code__)):
        if name in function.__globals__:
            yield name, function.__globals__[name]


def _global_names(code: CodeType) -> set[str]:
    names = {each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names


def _source(where: str, value: Any) -> str:
    try:
        # by its code: the source of a decorated function is the decorator's, which brings the function along
        text = inspect.getsource(value.__code__ if isinstance(value, FunctionType) else value)
    except (OSError, TypeError):
        raise FeedError(
            f"map: the source of {where} is not to be had", "Write it with def in a file, and import it or run that."
        ) from None
    if isinstance(value, FunctionType) and value.__name__ == "<lambda>":
        return _lambda_source(where, value.__code__)
    return textwrap.dedent(text)


def _lambda_source(where: str, code: CodeType) -> str:
    """The text of a lambda alone, not of the lines around it."""
    lines = "".join(linecache.getlines(code.co_filename))
    at = [each.positions for each in dis.get_instructions(code) if each.opname not in _NO_TEXT]
    places = [(each.lineno, each.col_offset) for each in at if each and each.col_offset is not None]
    try:
        nodes = [node for node in ast.walk(ast.parse(lines)) if isinstance(node, ast.Lambda)]
    except SyntaxError:  # a cell of a notebook with more than Python in it
        nodes = []
    found = [node for node in nodes if node.lineno == code.co_firstlineno and _holds(node.body, places)]
    # of lambdas in one another, the innermost that holds all of the code
    innermost = max(found, key=lambda node: (node.body.lineno, node.body.col_offset), default=None)
    text = None if innermost is None else ast.get_source_segment(lines, innermost)
    if text is None or (not places and len(found) > 1):
        raise FeedError(f"map: the source of {where} cannot be told from that around it", "Write it with def.")
    return text


def _holds(node: ast.expr, places: list[Any]) -> bool:
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    return all(begin <= place < end for place in places)

"""Architectures: functions of the reader's own code that make untrained models, under names that records may hold.

A record names an architecture and its arguments; which function that is says the process that loads, and its
arguments are checked against that function's signature. Nothing is imported because a record says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from nemesyst.errors import ModelError, SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable

    Build = Callable[..., Any]

Function = TypeVar("Function", bound="Callable[..., Any]")

_registered: dict[str, Build] = {}


def architecture(name: str) -> Callable[[Function], Function]:
    """Register a function that makes an untrained model, so that versions of this name load without it.

    Args:
        name: What records call it.

    Raises:
        SettingsError: Another function has the name.

    >>> @architecture("tiny")
    ... def tiny(hidden: int = 4) -> object: ...
    """
    if not isinstance(name, str) or not name:
        raise SettingsError(f"architecture {name!r}", 'Write @nm.architecture("lstm").')

    def register(function: Function) -> Function:
        known = _registered.get(name)
        if known is not None and _place(known) != _place(function):
            raise SettingsError(
                f"architecture {name!r} is {_place(known)} already, and cannot be {_place(function)}, too",
                "Give one of them another name.",
            )
        _registered[name] = function
        return function

    return register


def registered(name: str, ref: str, *, needed: bool = True) -> Build | None:
    """The function of an architecture; None if it is not needed, and this process has not registered it.

    Raises:
        ModelError: It is needed, and this process has not registered it.
    """
    if name not in _registered:
        if not needed:
            return None
        known = nearest(name, list(_registered))
        raise ModelError(
            f"{ref} has the architecture {name!r}, which this process has not registered: {known}",
            f"Import your module with @nm.architecture({name!r}), or pass build= (--script FILE) or into=.",
        )
    return _registered[name]


def name_in_registry(build: Build | None) -> str | None:
    """The name under which a function is registered, or None."""
    return next((name for name, function in _registered.items() if function is build), None)


def _place(function: Build) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', function)}"

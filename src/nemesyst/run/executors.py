"""Executors by name, imported only when one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from nemesyst.errors import NemesystError, SettingsError, nearest
from nemesyst.run.jobs import Executor

GROUP = "nemesyst.executors"
"""Entry points of this group name functions that make executors, as :data:`Make` says."""

Make = Callable[[Mapping[str, Any], int | None], Executor]
"""Makes an executor of the settings for each job (secrets revealed) and ``processes`` (None: as there is room)."""


def _local(settings: Mapping[str, Any], processes: int | None) -> Executor:
    from nemesyst.run.local.executor import LocalExecutor

    return LocalExecutor(settings, processes)


def _ray(settings: Mapping[str, Any], processes: int | None) -> Executor:
    from nemesyst.run.ray.executor import RayExecutor

    return RayExecutor(settings, processes)


_OURS: dict[str, Make] = {"local": _local, "ray": _ray}


def executor_named(name: str, settings: Mapping[str, Any], processes: int | None = None) -> Executor:
    """The executor of this name: ``local``, ``ray``, or another package's (entry points ``nemesyst.executors``).

    Args:
        name: Its name.
        settings: Settings for each job, as values, secrets revealed.
        processes: Processes side by side; None: as many as there is room.

    Raises:
        SettingsError: There is none of this name, or it cannot be loaded.
        NemesystError: It cannot begin; what it needs is not installed, or not there.
    """
    if name in _OURS:
        return _OURS[name](settings, processes)
    theirs = {point.name: point for point in entry_points(group=GROUP)}
    if name not in theirs:
        raise SettingsError(f"there is no executor {name!r}", nearest(name, [*_OURS, *theirs]))
    try:
        make: Make = theirs[name].load()
        executor = make(settings, processes)
    except NemesystError:
        raise
    except Exception as error:
        raise SettingsError(
            f"executor {name!r} ({theirs[name].value}) cannot be loaded: {type(error).__name__}: {error}",
            "Look at the package that brings it.",
        ) from error
    if not isinstance(executor, Executor):
        raise SettingsError(
            f"executor {name!r} ({theirs[name].value}) made a {type(executor).__name__}, which is no executor",
            "It has to be a nemesyst.run.Executor.",
        )
    return executor

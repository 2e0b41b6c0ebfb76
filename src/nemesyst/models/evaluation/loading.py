"""How versions are loaded and asked; it decides on their predictions, so stored results are found by it, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import xxhash

from nemesyst.errors import FeedError, ModelError, NemesystError, SettingsError
from nemesyst.feed import source_fingerprint
from nemesyst.models.architectures import registered

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from nemesyst.models.registry import Models
    from nemesyst.types import Version

    Build = Callable[..., Any]


@dataclass(frozen=True)
class Loading:
    """How versions are loaded and asked.

    Attributes:
        build: A function that makes the untrained model, or such functions by name (``"air"``), path
            (``"air[site12]"``) or reference.
        trust: Types to allow, for all versions or by reference.
        device: Such as ``"gpu"``; None: the CPU.
        predict: ``predict(model, batch)`` instead of the framework's own; the batch is scaled as the version's feed
            scales, and so is what it returns.

    Raises:
        SettingsError: ``build`` or ``predict`` is no function.
    """

    build: Build | Mapping[str, Build] | None = None
    trust: Any = ()
    device: str | None = None
    predict: Callable[[Any, Mapping[str, np.ndarray[Any, Any]]], Any] | None = None
    _known: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        given = {"build": self.build}
        if isinstance(self.build, Mapping):
            given = {f"build[{name!r}]": each for name, each in self.build.items()}
        for name, each in given.items():
            if each is not None and not callable(each):
                raise SettingsError(
                    f"{name}={each!r:.80} is no function",
                    "Give a function that makes the untrained model, or such functions by name or reference.",
                )
        if self.predict is not None and not callable(self.predict):
            raise SettingsError(f"predict={self.predict!r:.80} is no function", "Give predict(model, batch).")

    def load(self, models: Models, version: Version) -> Any:
        """Load a version.

        Raises:
            ModelError: It cannot be loaded, or the function that makes the model fails.
        """
        given: dict[str, Any] = {"build": _chosen(self.build, version), "trust": _chosen(self.trust, version) or ()}
        if self.device is not None:
            given["device"] = self.device
        try:
            return models.load(version.ref, **given)
        except NemesystError:
            raise
        except Exception as error:
            build = self._build(version)
            if build is None:
                raise
            name = getattr(build, "__qualname__", type(build).__qualname__)
            raise ModelError(
                f"evaluate: {version.ref}: the function {name}, which makes its model, fails with args={version.args}: "
                f"{type(error).__name__}: {error}",
                "It is called with the arguments that the version was saved with.",
            ) from error

    def digest(self, version: Version) -> str:
        """What decides on predictions besides the version: ``predict``, and the function that makes the model.

        Returns:
            32 hexadecimal digits; empty where a function has no fingerprint, so that it cannot be told later whether
            it is the same one.
        """
        try:
            told = [None if each is None else self._fingerprint(each) for each in (self.predict, self._build(version))]
        except FeedError:
            return ""
        return str(xxhash.xxh3_128_hexdigest(json.dumps(told).encode()))

    def _fingerprint(self, function: Any) -> str:
        if id(function) not in self._known:  # this object holds it, so that no other takes its place
            self._known[id(function)] = source_fingerprint(function)["digest"]
        return self._known[id(function)]

    def _build(self, version: Version) -> Any:
        chosen = _chosen(self.build, version)
        if chosen is None and version.architecture is not None:
            return registered(version.architecture, version.ref, needed=False)
        return chosen


def _chosen(given: Any, version: Version) -> Any:
    if not isinstance(given, Mapping):
        return given
    return next((given[name] for name in (version.ref, version.path, version.name) if name in given), None)

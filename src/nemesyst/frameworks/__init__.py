"""One small adapter per framework, found by a model's type or by name, imported only when it is used."""

from __future__ import annotations

import functools
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from nemesyst.errors import ModelError, nearest
from nemesyst.frameworks.arrow_dataset import arrow_columns
from nemesyst.frameworks.base import Adapter
from nemesyst.frameworks.batches import Layout
from nemesyst.frameworks.conversions import Conversions
from nemesyst.frameworks.randomness import random_states, restore_random_states
from nemesyst.frameworks.seeds import seed_all
from nemesyst.frameworks.states import Captured, capture, restored
from nemesyst.frameworks.steps import pace
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.frameworks.batched.fleet import copies, first_module, one_thread, train_fleet
    from nemesyst.frameworks.batched.plan import Learned, Member, Recipe
    from nemesyst.frameworks.onnx_compare import check_onnx

__getattr__ = later(
    __name__,
    {
        "check_onnx": "onnx_compare",
        "copies": "batched.fleet",
        "first_module": "batched.fleet",
        "one_thread": "batched.fleet",
        "train_fleet": "batched.fleet",
        "Learned": "batched.plan",
        "Member": "batched.plan",
        "Recipe": "batched.plan",
    },
)

__all__ = [
    "Adapter",
    "Captured",
    "Conversions",
    "Layout",
    "Learned",
    "Member",
    "Recipe",
    "adapter_for",
    "adapter_named",
    "arrow_columns",
    "capture",
    "check_onnx",
    "copies",
    "first_module",
    "known_adapters",
    "one_thread",
    "pace",
    "random_states",
    "restore_random_states",
    "restored",
    "seed_all",
    "train_fleet",
]

GROUP = "nemesyst.adapters"
"""Entry point group in which a third party names a subclass of :class:`Adapter`."""

_BUILT_IN = {
    "torch": "nemesyst.frameworks.pytorch:TorchAdapter",
    "sklearn": "nemesyst.frameworks.sklearn:SklearnAdapter",
    "arrays": "nemesyst.frameworks.arrays:ArraysAdapter",
    "xgboost": "nemesyst.frameworks.xgboost_model:XGBoostAdapter",
    "onnx": "nemesyst.frameworks.onnx_model:OnnxAdapter",
    "keras": "nemesyst.frameworks.keras_model:KerasAdapter",
    "jax": "nemesyst.frameworks.jax_model:JaxAdapter",
}


def adapter_for(model: object) -> Adapter:
    """The adapter of a model, chosen by the names of its classes; imports no framework.

    Raises:
        ModelError: No adapter knows such a type.
    """
    found, broken = [], []
    for name in known_adapters():
        try:
            adapter = adapter_named(name)
        except ModelError as error:  # a third party's package that cannot be imported must not stop the others
            broken.append(error.message)
            continue
        if adapter.recognises(model):
            found.append(adapter)
    if not found:
        kind = type(model)
        raise ModelError(
            "; ".join([f"a {kind.__module__}.{kind.__qualname__} is not a model of a known framework", *broken]),
            f"Give a model of {', '.join(known_adapters())} (arrays: a dict of them). Pickles are never stored.",
        )
    return min(found, key=lambda adapter: adapter.distance(model) or 0)


def known_adapters() -> list[str]:
    """Names of the built-in adapters and of third parties' ones."""
    return [*_BUILT_IN, *(name for name in _third_party() if name not in _BUILT_IN)]


@functools.cache
def adapter_named(name: str) -> Adapter:
    """The adapter of this name.

    Raises:
        ModelError: There is none, or a third party's cannot be imported.
    """
    if (place := {**_third_party(), **_BUILT_IN}.get(name)) is None:
        raise ModelError(
            f"no adapter is called {name!r}: {nearest(name, known_adapters())}",
            f"Install the package that brings it (entry point group {GROUP}), or a newer Nemesyst.",
        )
    module, _, attribute = place.partition(":")
    try:
        adapter = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ModelError(
            f"the adapter {name!r} ({place}) cannot be imported: {error}", "Repair its package."
        ) from error
    if not isinstance(adapter, Adapter):
        raise ModelError(f"the adapter {name!r} ({place}) is no nemesyst.frameworks.Adapter", "Repair its package.")
    return adapter


@functools.cache
def _third_party() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP)}

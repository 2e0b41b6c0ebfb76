"""The golden batch: a few real inputs and the outputs at save time, by which a loaded model tests itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import CorruptBlobError, ModelError, SelfTestError, SettingsError
from nemesyst.frameworks import adapter_named

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nemesyst.frameworks import Adapter

    Array = np.ndarray[Any, Any]
    Inputs = Array | Mapping[str, Array]

ROWS = 8
"""Rows of a golden batch."""

_OUTPUT, _INPUT = "output", "input"


def inputs_of(batch: Mapping[str, Array]) -> Inputs | None:
    """What a model is given of a batch: its ``x``, or its ``x.name`` arrays by name; None where it has neither."""
    if "x" in batch:
        return batch["x"]
    return {name.removeprefix("x."): values for name, values in batch.items() if name.startswith("x.")} or None


def taken(adapter: Adapter, model: Any, inputs: Inputs) -> dict[str, Array] | None:
    """Inputs and the outputs of now, by name; None where the outputs are others each time, and prove nothing.

    Raises:
        ModelError: The model has no output for these inputs.
    """
    output = adapter.predict(model, inputs)
    if not _near(output, adapter.predict(model, inputs), adapter.tolerance):
        return None
    named = inputs if hasattr(inputs, "items") else {"": inputs}
    return {_OUTPUT: output, **{f"{_INPUT}/{name}" if name else _INPUT: values for name, values in named.items()}}


def automatic(adapter: Adapter, model: Any, feed: Any) -> dict[str, Array] | None:
    """The golden batch out of a feed's first rows; None where there are none, or the model has no output of its own."""
    first = getattr(feed, "first", None)
    inputs = None if first is None else inputs_of(first(ROWS))
    if inputs is None:
        return None
    try:
        return taken(adapter, model, inputs)
    except ModelError:
        return None
    except Exception:  # noqa: BLE001 - the model's own code: that it wants other inputs is no reason not to save it
        return None


def given(adapter: Adapter, model: Any, golden: Any) -> dict[str, Array]:
    """The golden batch out of the inputs that the user gives.

    Raises:
        SettingsError: They are no arrays.
        ModelError: The model has no output for them, or another one each time.
    """
    batch = golden if isinstance(golden, dict) else {"x": golden}
    if not batch or not all(isinstance(values, np.ndarray) for values in batch.values()):
        raise SettingsError(f"golden={type(golden).__name__}", "Give an array of inputs, or a batch of the feed.")
    few = {name: values[:ROWS] for name, values in batch.items()}
    inputs = inputs_of(few)
    found = taken(adapter, model, few if inputs is None else inputs)
    if found is None:
        raise ModelError(
            "the model gives another output for the same inputs each time, so a golden batch would prove nothing",
            "Leave golden= out, or have it draw its random numbers from a fixed seed.",
        )
    return found


def dumped(golden: Mapping[str, Array]) -> Iterable[Any]:
    """A golden batch as bytes."""
    return adapter_named("arrays").dump(dict(golden))


def check(adapter: Adapter, model: Any, data: Any, ref: str) -> float:
    """Compute the golden batch again, and compare.

    Args:
        adapter: The model's.
        model: The loaded model.
        data: The verified bytes of the golden batch.
        ref: The version, for the error.

    Returns:
        The largest difference, relative to the largest output.

    Raises:
        SelfTestError: The outputs differ by more than the adapter's tolerance.
        CorruptBlobError: The bytes are no golden batch.
    """
    golden = _named(ref, adapter_named("arrays").load, data)
    if _OUTPUT not in golden or len(golden) < 2:
        raise CorruptBlobError(f"the golden batch of {ref} has no {_OUTPUT}")
    then = golden.pop(_OUTPUT)
    inputs = golden[_INPUT] if _INPUT in golden else {n.removeprefix(f"{_INPUT}/"): v for n, v in golden.items()}
    return compare(adapter, ref, then, _named(ref, adapter.predict, model, inputs))


def _named(ref: str, call: Callable[..., Any], *given: Any) -> Any:
    """Call an adapter; its errors name the version."""
    try:
        return call(*given)
    except ModelError as error:
        raise type(error)(f"{ref}: {error.message}", error.remedy) from error


def compare(adapter: Adapter, ref: str, then: Array, now: Array) -> float:
    """The largest difference between the outputs, relative to the largest of then.

    Raises:
        SelfTestError: It is more than the adapter's tolerance, or the shapes differ.
    """
    remedy = "Load it where it was saved (see its environment), or use another version."
    if then.shape != now.shape:
        raise SelfTestError(f"{ref} gives outputs of shape {now.shape}, but {then.shape} when it was saved", remedy)
    if not _near(then, now, adapter.tolerance):
        raise SelfTestError(
            f"{ref} fails its self-test: its outputs for the golden batch differ by up to {_apart(then, now):.3g} of "
            f"the largest one from those at save time (at most {adapter.tolerance:g} is allowed)",
            remedy,
        )
    return _apart(then, now)


def _near(then: Array, now: Array, tolerance: float) -> bool:
    if then.shape != now.shape:
        return False
    if then.dtype.kind not in "fc":
        return bool((then == now).all())
    return bool((np.isnan(then) == np.isnan(now)).all()) and _apart(then, now) <= tolerance


def _apart(then: Array, now: Array) -> float:
    if then.dtype.kind not in "fc" or not then.size:
        return float(not np.array_equal(then, now))
    both = ~(np.isnan(then) | np.isnan(now)) & (then != now)  # equal infinities are no difference
    if not both.any():
        return 0.0
    largest = np.abs(then[np.isfinite(then)]).max(initial=0.0)
    return float(np.abs(then.astype("f8") - now.astype("f8"))[both].max() / max(float(largest), 1e-12))

"""What one run of the suite works on, and small helpers of its checks."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import CorruptBlobError, MismatchError, UntrustedError

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray[Any, Any]
Inputs = Array | Mapping[str, Array]

REFUSED = (CorruptBlobError, MismatchError, UntrustedError)
"""What damaged bytes may raise."""


class CheckError(AssertionError):
    """An implementation does not do what the contract says; the message names the check and what was found."""


@dataclass(frozen=True)
class Case:
    """An adapter and models to try it on; see :func:`nemesyst.checks.check_adapter` for what they are."""

    adapter: Any
    make: Callable[[], Any]
    inputs: Any
    other: Callable[[], Any] | None
    train: Callable[[Any, Any], tuple[Any, Any]] | None
    optimizer: Callable[[Any], Any] | None
    needs_target: bool
    trust: tuple[str, ...]
    random: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - places of damage, no secrets

    def dump(self, model: Any) -> bytes:
        """The model in one piece."""
        return joined(self.adapter.dump(model))

    def load(self, data: bytes | memoryview, into: Any = None) -> Any:
        """The model again, with the trust that it needs."""
        return self.adapter.load(data, into, trust=self.trust)

    def target(self) -> Any:
        """What to load into: a model, where one is needed."""
        return self.make() if self.needs_target else None

    def state(self, model: Any) -> dict[str, bytes]:
        """What must not change: every leaf with its dtype and shape, or else the whole dump."""
        leaves = {name: told(array) for name, array in self.adapter.weights(model)}
        return leaves or {"": self.dump(model)}

    def refuses(self, data: bytes, into: Any) -> bool:
        """Whether loading raises one of the errors that damaged bytes may raise."""
        try:
            self.load(data, into)
        except REFUSED:
            return True
        return False


def joined(pieces: Any) -> bytes:
    """Pieces of any kind of buffer as bytes."""
    return b"".join(bytes(piece) for piece in pieces)


def require(condition: object, text: str) -> None:
    """Raise a :class:`CheckError` with this text unless the condition holds."""
    if not condition:
        raise CheckError(text)


def told(array: Array) -> bytes:
    """Dtype, shape and bits of an array."""
    return f"{array.dtype} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes()


def read_only(inputs: Inputs) -> Inputs:
    """A copy that cannot be written to."""
    if isinstance(inputs, Mapping):
        return {name: _fixed(array) for name, array in inputs.items()}
    return _fixed(inputs)


def _fixed(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


def wide(inputs: Inputs) -> Inputs:
    """The same numbers, floating ones as float64."""
    if isinstance(inputs, Mapping):
        return {name: _wide(array) for name, array in inputs.items()}
    return _wide(inputs)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def rows_of(inputs: Inputs) -> int:
    """Rows of a batch."""
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)

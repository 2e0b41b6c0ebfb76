"""The contract of a framework adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import numpy as np

    Array = np.ndarray[Any, Any]
    Buffer = bytes | bytearray | memoryview


class Adapter(ABC):
    """Turns the models of one framework into bytes and back; sees arrays and bytes, never the database.

    A third party names its own in the entry point group ``nemesyst.adapters``. The module of an adapter must not
    import its framework at the top: the lookup imports every adapter, and a process pays only for what it uses.

    Attributes:
        name: Name in the record of a version, such as ``"torch"``.
        roots: Full names of the classes whose instances this adapter takes, such as
            ``"torch.nn.modules.module.Module"``. Of several adapters the one with the nearest class wins.
        needs_target: Whether :meth:`load` needs a model to load into.
    """

    name: ClassVar[str]
    roots: ClassVar[tuple[str, ...]]
    needs_target: ClassVar[bool]

    def distance(self, model: object) -> int | None:
        """How far up its classes the model is one of ours: 0 for its own class, None for not at all."""
        for steps, kind in enumerate(type(model).__mro__):
            if f"{kind.__module__}.{kind.__qualname__}" in self.roots:
                return steps
        return None

    def recognises(self, model: object) -> bool:
        """Whether the model is one of this framework's; looks at the names of its classes alone."""
        return self.distance(model) is not None

    def ready(self, model: Any) -> Any:
        """Put a model that was just built into the state for predictions; the model itself."""
        return model

    @abstractmethod
    def version(self) -> str:
        """Version of the framework, for the record."""

    @abstractmethod
    def dump(self, model: Any) -> Iterable[Buffer]:
        """The model as bytes, in pieces that need not be copied together.

        Raises:
            ModelError: A part of the model cannot be stored; names it.
        """

    @abstractmethod
    def load(self, data: Buffer, into: Any = None, *, trust: Collection[str] = ()) -> Any:
        """Make the model again, running nothing that the bytes bring.

        Args:
            data: What :meth:`dump` gave, in one buffer, which the model may keep.
            into: A model to load into, in place; it is unchanged when this raises.
            trust: Types that the reader allows beyond the adapter's own list.

        Raises:
            MismatchError: The bytes do not fit ``into``; names the part and both shapes.
            UntrustedError: The bytes name a type that is not on the list.
            CorruptBlobError: The bytes are not in this adapter's format.
        """

    @abstractmethod
    def predict(self, model: Any, inputs: Array | Mapping[str, Array]) -> Array:
        """The model's output for a batch: evaluation mode, no gradients, the model left as it was.

        Raises:
            ModelError: The model has no output for arrays like these.
        """

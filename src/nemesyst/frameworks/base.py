"""The contract of a framework adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from nemesyst.errors import ModelError
from nemesyst.frameworks.devices import parse_device

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    import numpy as np

    Array = np.ndarray[Any, Any]
    Buffer = bytes | bytearray | memoryview


class Adapter(ABC):
    """Turns the models of one framework into bytes and back; sees arrays and bytes, never the database.

    A third party names its own in the entry point group ``nemesyst.adapters``, and runs it through
    :func:`nemesyst.checks.check_adapter`. The module of an adapter must not import its framework at the top: the
    lookup imports every adapter, and a process pays only for what it uses.

    Attributes:
        name: Name in the record of a version, such as ``"torch"``.
        roots: Full names of the classes whose instances this adapter takes, such as
            ``"torch.nn.modules.module.Module"``. Of several adapters the one with the nearest class wins.
        needs_target: Whether :meth:`load` needs a model to load into.
        exact: Whether training again from the same rows, seeds and threads on one CPU gives the same bits.
        tolerance: Relative tolerance of outputs (golden batch, ONNX form), and of the weights after a replay where it
            is not ``exact``.
    """

    name: ClassVar[str]
    roots: ClassVar[tuple[str, ...]]
    needs_target: ClassVar[bool]
    exact: ClassVar[bool] = False
    tolerance: ClassVar[float] = 1e-5

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

        The same model always gives the same bytes, so that equal content is stored once. No more than one piece is
        held beside the model; a piece is taken before the next one is made.

        Raises:
            ModelError: A part of the model cannot be stored; names it.
        """

    @abstractmethod
    def load(self, data: Buffer, into: Any = None, *, trust: Collection[str] = ()) -> Any:
        """Make the model again, running nothing that the bytes bring.

        Args:
            data: What :meth:`dump` gave, in one buffer: bytes, or a read-only view of a memory-mapped file. It is
                never copied as a whole. The model may keep views of it only if ``into`` is None.
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

        Args:
            model: The model, on any device.
            inputs: One array, or arrays by name, of which floating ones are cast to the model's own dtype.

        Returns:
            The output as a NumPy array; bfloat16 as float32.

        Raises:
            ModelError: The model has no output for arrays like these.
        """

    def weights(self, model: Any) -> Iterator[tuple[str, Array]]:  # noqa: ARG002 - the contract's parameter
        """Name and values (NumPy; bfloat16 as float32 or ``ml_dtypes``) of each leaf, one at a time.

        A model that has no leaves to name gives none.
        """
        return iter(())

    def place(self, model: Any, device: str) -> Any:
        """Put the model on a device: ``"cpu"``, ``"gpu"``, ``"gpu:1"`` (``"cuda:1"`` is the same); the model.

        Raises:
            ModelError: There is no such device, or this framework has no choice of one.
        """
        if parse_device(device)[0] == "cpu":
            return model
        raise ModelError(
            f"device={device!r}: models of {self.name} run on the CPU, or place themselves", "Leave device out."
        )

    def dump_optimizer(self, model: Any, optimizer: Any) -> Iterable[Buffer]:  # noqa: ARG002 - the contract's parameters
        """The state of an optimiser of this model as bytes, under the rules of :meth:`dump`.

        Raises:
            ModelError: There is none, or a part of it cannot be stored; names it.
        """
        raise self._no_optimizer()

    def load_optimizer(self, data: Buffer, model: Any, optimizer: Any) -> Any:  # noqa: ARG002 - the contract's parameters
        """Restore what :meth:`dump_optimizer` gave, under the rules of :meth:`load`.

        Args:
            data: The bytes.
            model: The model whose optimiser it is.
            optimizer: An optimiser made like the one that was stored; filled in place where the framework can.

        Returns:
            ``optimizer``, or one like it with the stored state.

        Raises:
            MismatchError: The state does not fit ``optimizer``; names the part and both shapes.
            CorruptBlobError: The bytes are not in this adapter's format.
            ModelError: This framework has no optimiser state.
        """
        raise self._no_optimizer()

    def to_onnx(self, model: Any, inputs: Array | Mapping[str, Array]) -> bytes:  # noqa: ARG002 - the contract's parameters
        """The model as an ONNX file whose batch axis has no fixed size.

        Args:
            model: The model.
            inputs: A batch like those that it will predict on: shapes and dtypes are taken from it.

        Raises:
            ModelError: This model has no ONNX form.
        """
        raise ModelError(f"models of {self.name} have no ONNX form", "Save without also='onnx'.")

    def _no_optimizer(self) -> ModelError:
        return ModelError(f"{self.name} has no optimiser state of its own", "Leave optimizer out.")

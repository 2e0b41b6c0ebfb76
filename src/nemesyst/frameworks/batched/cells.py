"""One step of a recurrent layer for many entities at once, forth and back.

Everything of a step is in arrays whose first axis is the entity and whose last is the row of the batch, so that each
gate is one contiguous stretch per entity, and a step is one batched product and a few passes over its result.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

_ops: Any = torch.ops.aten
"""Derivatives from outputs, in place."""


class Trace(NamedTuple):
    """What a layer keeps of its steps for the way back; T steps, E entities, H units, B rows.

    Attributes:
        fed: What each step's product was taken with: inputs, a one for the bias, the state; (T + 1, E, inputs + 1 + H,
            B).
        gates: Its gates behind their activations; (T, E, gates x H, B).
        memory: An LSTM's memory before each step; (T + 1, E, H, B), else empty.
        squashed: Its tanh after each step; (T, E, H, B), else empty.
    """

    fed: Tensor
    gates: Tensor
    memory: Tensor
    squashed: Tensor


class Cell(ABC):
    """A kind of recurrent cell; stateless."""

    blocks: ClassVar[int]
    """Rows of the product, in units."""
    remembers: ClassVar[bool] = False
    """Whether it has a memory beside its state."""

    @abstractmethod
    def rows(self, inward: Tensor, inner: Tensor, bias_in: Tensor, bias_inner: Tensor) -> Tensor:
        """PyTorch's parameters of one layer as the one matrix of a step's product.

        Args:
            inward: (E, gates x H, inputs).
            inner: (E, gates x H, H).
            bias_in: (E, gates x H, 1).
            bias_inner: (E, gates x H, 1).

        Returns:
            (E, blocks x H, inputs + 1 + H).
        """

    @abstractmethod
    def forward(self, trace: Trace, step: int, before: Tensor, after: Tensor) -> None:
        """From the product in ``gates[step]`` and the state before it to the state after it, both (E, H, B)."""

    @abstractmethod
    def backward(self, trace: Trace, step: int, before: Tensor, into: Tensor, grads: tuple[Tensor, Tensor]) -> Tensor:
        """Back through a step.

        Args:
            trace: What was kept.
            step: Which one.
            before: The state before it; (E, H, B).
            into: Takes the gradient of the product; (E, blocks x H, B).
            grads: The gradients of the state after it, and of the memory, which becomes that before it.

        Returns:
            The gradient of the state before it, as far as it does not go through the product; a tensor of its own.
        """


class LstmCell(Cell):
    """``nn.LSTM``; its gates are kept in the order i, f, o, g."""

    blocks = 4
    remembers = True

    def rows(self, inward: Tensor, inner: Tensor, bias_in: Tensor, bias_inner: Tensor) -> Tensor:
        """See :meth:`Cell.rows`."""
        i, f, g, o = torch.cat([inward, bias_in + bias_inner, inner], 2).chunk(4, 1)
        return torch.cat([i, f, o, g], 1)

    def forward(self, trace: Trace, step: int, before: Tensor, after: Tensor) -> None:  # noqa: ARG002 - in the product
        """See :meth:`Cell.forward`."""
        gates, units = trace.gates[step], trace.memory.shape[2]
        gates[:, : 3 * units].sigmoid_()
        gates[:, 3 * units :].tanh_()
        i, f, o, g = gates.chunk(4, 1)
        memory, squashed = trace.memory[step + 1], trace.squashed[step]
        torch.mul(f, trace.memory[step], out=memory)
        memory.addcmul_(i, g)
        torch.tanh(memory, out=squashed)
        torch.mul(o, squashed, out=after)

    def backward(self, trace: Trace, step: int, before: Tensor, into: Tensor, grads: tuple[Tensor, Tensor]) -> Tensor:  # noqa: ARG002
        """See :meth:`Cell.backward`."""
        (i, f, o, g), (state, memory) = trace.gates[step].chunk(4, 1), grads
        squashed, units = trace.squashed[step], trace.memory.shape[2]
        memory += _ops.tanh_backward(state * o, squashed)
        of_i, of_f, of_o, of_g = into.chunk(4, 1)
        torch.mul(memory, g, out=of_i)
        torch.mul(memory, trace.memory[step], out=of_f)
        torch.mul(state, squashed, out=of_o)
        torch.mul(memory, i, out=of_g)
        _unsigmoid(into[:, : 3 * units], trace.gates[step][:, : 3 * units])
        _untanh(of_g, g)
        memory *= f
        return torch.zeros_like(state)


class GruCell(Cell):
    """``nn.GRU``; its product has r, z, what n gets from the inputs, and what it gets from the state."""

    blocks = 4

    def rows(self, inward: Tensor, inner: Tensor, bias_in: Tensor, bias_inner: Tensor) -> Tensor:
        """See :meth:`Cell.rows`."""
        units = inner.shape[2]
        both = torch.cat([inward, bias_in + bias_inner, inner], 2)[:, : 2 * units]
        last = slice(2 * units, None)
        from_in = torch.cat([inward[:, last], bias_in[:, last], torch.zeros_like(inner[:, last])], 2)
        from_state = torch.cat([torch.zeros_like(inward[:, last]), bias_inner[:, last], inner[:, last]], 2)
        return torch.cat([both, from_in, from_state], 1)

    def forward(self, trace: Trace, step: int, before: Tensor, after: Tensor) -> None:
        """See :meth:`Cell.forward`."""
        gates, units = trace.gates[step], before.shape[1]
        gates[:, : 2 * units].sigmoid_()
        r, z, n, from_state = gates.chunk(4, 1)
        n.addcmul_(r, from_state)
        n.tanh_()
        torch.lerp(n, before, z, out=after)

    def backward(self, trace: Trace, step: int, before: Tensor, into: Tensor, grads: tuple[Tensor, Tensor]) -> Tensor:
        """See :meth:`Cell.backward`."""
        (r, z, n, from_state), state = trace.gates[step].chunk(4, 1), grads[0]
        of_r, of_z, of_n, of_state = into.chunk(4, 1)
        torch.mul(state, before - n, out=of_z)
        kept = state * z
        torch.sub(state, kept, out=of_n)
        _untanh(of_n, n)
        torch.mul(of_n, from_state, out=of_r)
        torch.mul(of_n, r, out=of_state)
        units = before.shape[1]
        _unsigmoid(into[:, : 2 * units], trace.gates[step][:, : 2 * units])
        return kept


class RnnCell(Cell):
    """``nn.RNN`` with tanh."""

    blocks = 1

    def rows(self, inward: Tensor, inner: Tensor, bias_in: Tensor, bias_inner: Tensor) -> Tensor:
        """See :meth:`Cell.rows`."""
        return torch.cat([inward, bias_in + bias_inner, inner], 2)

    def forward(self, trace: Trace, step: int, before: Tensor, after: Tensor) -> None:  # noqa: ARG002 - in the product
        """See :meth:`Cell.forward`."""
        after.copy_(self._activate(trace.gates[step]))

    def backward(self, trace: Trace, step: int, before: Tensor, into: Tensor, grads: tuple[Tensor, Tensor]) -> Tensor:  # noqa: ARG002
        """See :meth:`Cell.backward`."""
        into.copy_(self._undo(grads[0], trace.gates[step]))
        return torch.zeros_like(grads[0])

    def _activate(self, gates: Tensor) -> Tensor:
        return gates.tanh_()

    def _undo(self, grad: Tensor, output: Tensor) -> Tensor:
        undone: Tensor = _ops.tanh_backward(grad, output)
        return undone


class ReluCell(RnnCell):
    """``nn.RNN`` with relu."""

    def _activate(self, gates: Tensor) -> Tensor:
        return gates.relu_()

    def _undo(self, grad: Tensor, output: Tensor) -> Tensor:
        return grad * (output > 0)


def _unsigmoid(grad: Tensor, output: Tensor) -> None:
    _ops.sigmoid_backward.grad_input(grad, output, grad_input=grad)


def _untanh(grad: Tensor, output: Tensor) -> None:
    _ops.tanh_backward.grad_input(grad, output, grad_input=grad)

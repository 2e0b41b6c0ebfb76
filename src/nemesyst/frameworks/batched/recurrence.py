"""All steps of a recurrent layer for many entities at once, with a way back of its own.

``torch.func.vmap`` has no rule for PyTorch's recurrent layers, and a loop of their operations spends most of its time
in bookkeeping; this keeps one record of a whole layer. Under ``vmap`` the entities that it maps over become the first
axis, so that a module's forward may be as it is written for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

from nemesyst.frameworks.batched.cells import Cell, Trace

if TYPE_CHECKING:
    from torch import Tensor


def run_layer(cell: Cell, rows: Tensor, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """One layer in one direction, for one entity; for many under ``vmap``.

    Args:
        cell: Its kind.
        rows: The matrix of :meth:`Cell.rows`; (blocks x H, inputs + 1 + H).
        inputs: (B, T, inputs).
        state: Before the first step; (B, H).
        memory: An LSTM's before the first step; (B, H).

    Returns:
        The states after each step, (B, T, H), and the memory after the last, (B, H).
    """
    given = (each.unsqueeze(0) for each in (rows, inputs, state, memory))
    states, last = _Recurrence.apply(cell, *given)[:2]  # type: ignore[no-untyped-call]
    return states[:, 0].permute(2, 0, 1), last[0].transpose(0, 1)


class _Recurrence(torch.autograd.Function):
    """From rows (E, R, I + 1 + H), inputs (E, B, T, I), state and memory (E, B, H) to states (T, E, H, B), memory."""

    @staticmethod
    def forward(cell: Cell, rows: Tensor, inputs: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        entities, batch, steps, width = inputs.shape
        units, own = state.shape[2], width + 1
        fed = rows.new_empty(steps + 1, entities, own + units, batch)
        fed[:steps, :, :width] = inputs.permute(2, 0, 3, 1)
        fed[:, :, width] = 1
        fed[0, :, own:] = state.transpose(1, 2)
        more = (units, batch) if cell.remembers else (0, batch)
        trace = Trace(
            fed,
            rows.new_empty(steps, entities, cell.blocks * units, batch),
            rows.new_empty(steps + 1, entities, *more),
            rows.new_empty(steps, entities, *more),
        )
        if cell.remembers:
            trace.memory[0] = memory.transpose(1, 2)
        for step in range(steps):
            torch.bmm(rows, fed[step], out=trace.gates[step])
            cell.forward(trace, step, fed[step, :, own:], fed[step + 1, :, own:])
        last = trace.memory[-1].clone() if cell.remembers else memory.transpose(1, 2).clone()
        return fed[1:, :, own:].clone(), last, *trace

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.cell = inputs[0]
        ctx.save_for_backward(inputs[1], *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_states: Tensor, of_last: Tensor, *_: Tensor) -> tuple[Any, ...]:
        rows, *kept = ctx.saved_tensors
        cell, trace = ctx.cell, Trace(*kept)
        steps, entities, units, batch = of_states.shape
        own = rows.shape[2] - units
        outward = ctx.needs_input_grad[2]
        first = 0 if outward else own
        back = rows[:, :, first:].transpose(1, 2).contiguous()
        of_rows, of_gates = torch.zeros_like(rows), torch.empty_like(trace.gates[0])
        of_inputs = rows.new_empty(steps, entities, own - 1, batch) if outward else None
        state, memory = torch.zeros_like(of_states[0]), of_last.clone()
        for step in range(steps - 1, -1, -1):
            state = state + of_states[step]
            direct = cell.backward(trace, step, trace.fed[step, :, own:], of_gates, (state, memory))
            of_rows.baddbmm_(of_gates, trace.fed[step].transpose(1, 2))
            through = torch.bmm(back, of_gates)
            if of_inputs is not None:
                of_inputs[step] = through[:, : own - 1]
            state = direct.add_(through[:, own - first :])
        found = None if of_inputs is None else of_inputs.permute(1, 3, 0, 2)
        return None, of_rows, found, state.transpose(1, 2), memory.transpose(1, 2)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], cell: Cell, *given: Tensor) -> tuple[Any, Any]:
        """What is mapped over joins the axis of the entities."""
        size = info.batch_size
        joined = []
        for each, dim in zip(given, in_dims[1:], strict=True):
            moved = each.unsqueeze(0).expand(size, *each.shape) if dim is None else each.movedim(dim, 0)
            joined.append(moved.reshape(size * moved.shape[1], *moved.shape[2:]))
        states, last, *trace = _Recurrence.apply(cell, *joined)  # type: ignore[no-untyped-call]
        of_one = [each.unflatten(1, (size, -1)).movedim(1, 0) for each in (states, *trace)]
        return (of_one[0], last.unflatten(0, (size, -1)), *of_one[1:]), (0,) * (2 + len(trace))

"""Twins of PyTorch's layers: the same parameters under the same names, with a forward that ``vmap`` can batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from nemesyst.errors import ModelError
from nemesyst.frameworks.batched.cells import Cell, GruCell, LstmCell, ReluCell, RnnCell
from nemesyst.frameworks.batched.recurrence import run_layer

if TYPE_CHECKING:
    from torch import Tensor

DRAW = "fleet_draw"
"""Name of the buffer of a layer that drops: a number of the entity and the step, set before each step."""


class _Recurrent(nn.RNNBase):
    """What the recurrent twins share."""

    cell: ClassVar[Cell]

    def _cell(self) -> Cell:
        return self.cell

    def _run(self, given: Any, state: Tensor | None, memory: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """All layers; outputs like PyTorch's, and the last states and memories, (layers x directions, B, H)."""
        if not isinstance(given, torch.Tensor):
            raise ModelError(
                f"{type(self).__name__}: its input is a {type(given).__name__}, and in a fleet it is a tensor",
                "Windows have one length: packed sequences are not needed.",
            )
        plain = given.dim() == 2
        inputs = given.unsqueeze(0) if plain else given if self.batch_first else given.transpose(0, 1)
        directions = 2 if self.bidirectional else 1
        states, memories = [], []
        for layer in range(self.num_layers):
            found = []
            for way in range(directions):
                number = layer * directions + way
                first = [self._first(inputs, each, number, plain=plain) for each in (state, memory)]
                outputs, last = self._layer(inputs.flip(1) if way else inputs, layer, way, first)
                states.append(outputs[:, -1])
                memories.append(last)
                found.append(outputs.flip(1) if way else outputs)
            inputs = torch.cat(found, 2)
            if self.dropout and self.training and layer < self.num_layers - 1:
                inputs = dropped(inputs, self.dropout, getattr(self, DRAW) + layer)
        outputs = inputs.squeeze(0) if plain else inputs if self.batch_first else inputs.transpose(0, 1)
        ends = [torch.stack(each) for each in (states, memories)]
        last, kept = (each.squeeze(1) if plain else each for each in ends)
        return outputs, last, kept

    def _first(self, inputs: Tensor, given: Tensor | None, number: int, *, plain: bool) -> Tensor:
        if given is None:
            return inputs.new_zeros(inputs.shape[0], self.hidden_size)
        return given[number].unsqueeze(0) if plain else given[number]

    def _layer(self, inputs: Tensor, layer: int, way: int, first: list[Tensor]) -> tuple[Tensor, Tensor]:
        mark = f"l{layer}{'_reverse' if way else ''}"
        inward, inner = getattr(self, f"weight_ih_{mark}"), getattr(self, f"weight_hh_{mark}")
        if self.bias:
            biases = [getattr(self, f"bias_{kind}_{mark}").unsqueeze(-1) for kind in ("ih", "hh")]
        else:
            biases = [inward.new_zeros(inward.shape[0], 1)] * 2
        cell = self._cell()
        rows = cell.rows(*(each.unsqueeze(0) for each in (inward, inner, *biases)))[0]
        return run_layer(cell, rows, inputs, *first)


class FleetLSTM(_Recurrent, nn.LSTM):
    """``nn.LSTM``."""

    cell = LstmCell()

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - PyTorch's name
        """See ``nn.LSTM``."""
        outputs, states, memories = self._run(input, *(hx or (None, None)))
        return outputs, (states, memories)


class FleetGRU(_Recurrent, nn.GRU):
    """``nn.GRU``."""

    cell = GruCell()

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - PyTorch's name
        """See ``nn.GRU``."""
        return self._run(input, hx, None)[:2]


class FleetRNN(_Recurrent, nn.RNN):
    """``nn.RNN``."""

    cell = RnnCell()
    _relu = ReluCell()

    def _cell(self) -> Cell:
        return self._relu if self.nonlinearity == "relu" else self.cell

    def forward(self, input: Any, hx: Any = None) -> Any:  # noqa: A002 - PyTorch's name
        """See ``nn.RNN``."""
        return self._run(input, hx, None)[:2]


class FleetConv1d(nn.Conv1d):
    """``nn.Conv1d`` as one product: PyTorch's own would become a convolution of as many groups as entities."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """See ``nn.Conv1d``."""
        plain = input.dim() == 2
        values = input.unsqueeze(0) if plain else input
        margins = list(self._reversed_padding_repeated_twice)
        if any(margins):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            values = functional.pad(values, margins, mode=mode)
        (size,), (stride,), (apart,) = self.kernel_size, self.stride, self.dilation
        pieces = values.unfold(2, apart * (size - 1) + 1, stride)[..., ::apart]  # rows, channels, places, size
        rows, channels, places, _ = pieces.shape
        pieces = pieces.reshape(rows, self.groups, channels // self.groups, places, size).transpose(2, 3)
        pieces = pieces.flatten(3).transpose(1, 2)  # rows, places, groups, numbers that a place sees
        weight = self.weight.reshape(self.groups, self.out_channels // self.groups, -1)
        made = torch.einsum("rpgn,gon->rgop", pieces, weight).reshape(rows, self.out_channels, places)
        made = made if self.bias is None else made + self.bias.unsqueeze(-1)
        return made.squeeze(0) if plain else made


class FleetDropout(nn.Dropout):
    """``nn.Dropout`` with random numbers of each entity's own."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name
        """See ``nn.Dropout``."""
        if not self.training or not self.p:
            return input
        return dropped(input, self.p, getattr(self, DRAW))


def dropped(values: Tensor, share: float, draw: Tensor) -> Tensor:
    """Values with a share of them put to 0, and the others scaled to make up for it.

    Which ones is a function of ``draw`` (int64, shape ()) and the place alone, by SplitMix64's finaliser (Steele, Lea
    and Flood, 2014), so that an entity drops the same whoever trains beside it.
    """
    if share >= 1:
        return torch.zeros_like(values)
    places = torch.arange(math.prod(values.shape), device=values.device).view(values.shape)
    mixed = _mix(places + _mix(draw))
    kept = ((mixed >> 24) & ((1 << 32) - 1)) >= int(share * (1 << 32))
    return values * kept / (1 - share)


def _mix(values: Tensor) -> Tensor:
    """64 bits out of 64 bits; PyTorch's whole numbers are signed, so what a shift brings in is cut off."""
    values = values + -0x61C8864680B583EB
    values = (values ^ ((values >> 30) & ((1 << 34) - 1))) * -0x40A7B892E31B1A47
    values = (values ^ ((values >> 27) & ((1 << 37) - 1))) * -0x6B2FB644ECCEEE15
    return values ^ ((values >> 31) & ((1 << 33) - 1))

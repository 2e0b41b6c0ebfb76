"""Training that goes on from a stored model and a stored optimiser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.checks.case import REFUSED, CheckError, joined, require, told
from nemesyst.errors import ModelError

if TYPE_CHECKING:
    from nemesyst.checks.case import Case


def goes_on_training(case: Case) -> None:
    """Training twice gives what training, storing, loading elsewhere and training gives."""
    adapter, model = case.adapter, case.make()
    if case.optimizer is None:
        _has_none(case, model)
    if case.train is None:
        return
    before = case.state(model)
    optimizer = None if case.optimizer is None else case.optimizer(model)
    model, optimizer = case.train(model, optimizer)
    require(case.state(model) != before, "train does not change the model, so there is nothing to compare")
    data, elsewhere = case.dump(model), case.make()
    elsewhere, restored = case.load(data, elsewhere), None
    if case.optimizer is not None:
        kept = joined(adapter.dump_optimizer(model, optimizer))
        require(kept == joined(adapter.dump_optimizer(model, optimizer)), "a second dump of the optimiser differs")
        _refuses_damage(case, kept, elsewhere)
        restored = adapter.load_optimizer(kept, elsewhere, case.optimizer(elsewhere))
        require(kept == joined(adapter.dump_optimizer(elsewhere, restored)), "the optimiser came back as another one")
    model, _ = case.train(model, optimizer)
    elsewhere, _ = case.train(elsewhere, restored)
    _compare(case, model, elsewhere)


def _has_none(case: Case, model: Any) -> None:
    try:
        joined(case.adapter.dump_optimizer(model, None))
    except ModelError:
        return
    raise CheckError("it stores an optimiser that is None")


def _refuses_damage(case: Case, kept: bytes, model: Any) -> None:
    assert case.optimizer is not None  # noqa: S101 - told by the caller
    for end in (0, 8, len(kept) // 2, len(kept) - 1):
        try:
            case.adapter.load_optimizer(kept[:end], model, case.optimizer(model))
        except REFUSED:
            continue
        raise CheckError(f"it restores an optimiser from {end} of {len(kept)} bytes")
    if case.other is not None:
        other = case.other()
        try:
            case.adapter.load_optimizer(kept, other, case.optimizer(other))
        except REFUSED:
            return
        raise CheckError("it restores the optimiser of a model of another shape")


def _compare(case: Case, wanted: Any, found: Any) -> None:
    there = dict(case.adapter.weights(found))
    for name, array in case.adapter.weights(wanted):
        if case.adapter.exact:
            require(told(array) == told(there[name]), f"training that goes on gives other bits in {name}")
        elif array.dtype.kind == "f":
            close = np.allclose(array, there[name], rtol=case.adapter.tolerance, atol=case.adapter.tolerance)
            require(close, f"training that goes on gives other values of {name}")

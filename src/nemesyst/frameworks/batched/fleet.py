"""Training many small modules of one architecture at once, block by block."""

from __future__ import annotations

import copy
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nemesyst.errors import ModelError
from nemesyst.frameworks.batched.block import Block
from nemesyst.frameworks.batched.modules import batchable, check_modules
from nemesyst.frameworks.batched.plan import Learned, Member, Recipe, rows_of, seed_of
from nemesyst.frameworks.randomness import random_states, restore_random_states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

_AT_ONCE = 1536
"""Rows of a step of all members of a block together, on a CPU: what a step works on then stays in its cache."""
_LEAST, _MOST = 4, 128
"""Members of a block on a CPU."""
_ON_GPU = 2048
"""Members of a block on a GPU, where only numbers help."""


class _StoppedError(Exception):
    """Another block has failed, or all of them are to end."""


def train_fleet(
    build: Callable[[], nn.Module],
    members: Sequence[Member],
    recipe: Recipe,
    *,
    device: str = "cpu",
    outputs: bool = False,
    told: Callable[[int, int], None] | None = None,
) -> list[Learned]:
    """Train a model for each member; the result of one does not depend on the others.

    Args:
        build: Makes an untrained model, under the member's seed.
        members: The members, each with at least one row.
        recipe: How.
        device: Where; on a CPU as many threads as PyTorch has train a block each.
        outputs: Whether what each gives for its validation rows is wanted.
        told: Called after each epoch of a block with its number and the rows that passed, by one thread at a time.

    Returns:
        What became of them, in their order.

    Raises:
        ModelError: A layer that cannot be batched, models that differ in their parameters, a loss that does not fit.
    """
    lock, stopped = threading.Lock(), threading.Event()

    def tell(epoch: int, rows: int) -> None:
        if stopped.is_set():
            raise _StoppedError
        if told is not None:
            with lock:
                told(epoch, rows)

    ordered = sorted(members, key=lambda each: rows_of(each.train))  # those of a block then end at about the same time
    size = block_size(len(members), recipe.batch_size, device)
    parts = [ordered[begin : begin + size] for begin in range(0, len(ordered), size)]

    def run(part: Sequence[Member]) -> list[Learned]:
        with lock:  # seeds are the process's
            module, states = _begun(build, part, recipe.seed)
        return Block(module, states, part, recipe, device).run(tell, outputs=outputs)

    found = {each.name: each for learned in _each(run, parts, device, stopped) for each in learned}
    return [found[member.name] for member in members]


def block_size(members: int, batch_size: int, device: str) -> int:
    """How many members are trained in the same operations: on a CPU few enough that each thread has a block."""
    if device != "cpu":
        return _ON_GPU
    return max(_LEAST, min(_MOST, _AT_ONCE // batch_size, -(-members // torch.get_num_threads())))


def first_module(build: Callable[[], Any], seed: int, name: str) -> nn.Module:
    """The untrained model of a member, as it begins.

    Raises:
        ModelError: A layer of it cannot be batched over entities.
    """
    with _own_randomness():
        return _first(build, seed, name)


def _first(build: Callable[[], Any], seed: int, name: str) -> nn.Module:
    number = seed_of(seed, name)
    random.seed(number)
    np.random.seed(number % 2**32)  # noqa: NPY002 - the global generator is what a build function may draw from
    torch.default_generator.manual_seed(number)  # torch.manual_seed keeps a note of each call until a GPU is used
    module: nn.Module = build()
    check_modules(module)
    return module


def _begun(
    build: Callable[[], nn.Module], members: Sequence[Member], seed: int
) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """A batchable module, and the first parameters and buffers of each member."""
    with _own_randomness():
        modules = [_first(build, seed, member.name) for member in members]
    states, names = [], {name: tuple(each.shape) for name, each in _held(modules[0])}
    for member, module in zip(members, modules, strict=True):
        state = {name: each.detach().clone() for name, each in _held(module)}
        shapes = {name: tuple(each.shape) for name, each in state.items()}
        if shapes != names:
            odd = next(name for name in {**names, **shapes} if names.get(name) != shapes.get(name))
            raise ModelError(
                f"the build function gave {member.name} other parameters than {members[0].name}: {odd} is "
                f"{shapes.get(odd)} and {names.get(odd)}",
                "A fleet is of one architecture: it may not depend on chance or on how often it is built.",
            )
        states.append(state)
    return batchable(modules[0]), states


def _held(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _each(
    run: Callable[[Sequence[Member]], list[Learned]],
    parts: Sequence[Sequence[Member]],
    device: str,
    stopped: threading.Event,
) -> Iterator[list[Learned]]:
    threads = torch.get_num_threads()
    if device != "cpu":
        yield from map(run, parts)
        return
    with one_thread(), ThreadPoolExecutor(threads, "nemesyst-fleet", torch.set_num_threads, (1,)) as pool:
        futures = [pool.submit(run, part) for part in parts]
        try:
            for future in futures:
                yield future.result()
        finally:
            stopped.set()  # after an error or Ctrl-C the other blocks end with their epoch
            for future in futures:
                future.cancel()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for each operation, which is what small ones are quickest with; blocks are what runs side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _own_randomness() -> Iterator[None]:
    """Leave the process's random states as they were."""
    states = random_states()
    try:
        yield
    finally:
        restore_random_states(states)


def copies(module: nn.Module, state: dict[str, np.ndarray[Any, Any]]) -> nn.Module:
    """A copy of an untrained module with a member's weights, in evaluation mode."""
    made = copy.deepcopy(module)
    held = dict(_held(made))
    with torch.no_grad():
        for name, values in state.items():
            held[name].copy_(torch.from_numpy(values))
    return made.eval()

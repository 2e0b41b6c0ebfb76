"""A snapshot of a run in training: all that is needed to go on from it, copied so that training can go on meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import adapter_for, capture, random_states, restored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemesyst.frameworks import Adapter
    from nemesyst.stages.context import Run

    Buffer = bytes | bytearray | memoryview

MODEL, OPTIMIZER, STATE = "model", "optimizer", "state"
"""Contents of a snapshot: weights, the optimiser's state if one was given, and everything else."""


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds.

    Attributes:
        step: Steps that were made.
        epoch: The epoch to go on with, from 0.
        position: Where the feed is, as ``state_dict()`` tells it; None: the run has no feed.
        contents: Bytes by name, in pieces that can be gone through again.
        number: Number of the checkpoint within its run, from 1; 0: it is not stored yet.
    """

    step: int
    epoch: int
    position: Mapping[str, Any] | None
    contents: Mapping[str, Iterable[Buffer]]
    number: int = 0

    def data(self, name: str) -> Buffer:
        """One content in one piece."""
        pieces = list(self.contents[name])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __str__(self) -> str:
        return f"the checkpoint of step {self.step}"


@dataclass
class Track:
    """Where a run is between its checkpoints.

    Attributes:
        held: A checkpoint that was found, and waits for :meth:`Run.resume`.
        sought: Whether one was looked for.
        asked: Whether :meth:`Run.resume` was called.
        state: The part of the found one that is neither weights nor optimiser.
        loop: How many loops over :meth:`Run.epochs` have begun.
        first: The loop and the epoch that a resumed run goes on with.
        before: Number of the feed's epoch when the present epoch of the loop began; None: outside of a loop.
        yielded: Versions that the function has given so far.
        random: States of random numbers that are put back when the first epoch begins.
        validated: The step that a validation was logged at last, and the names there.
    """

    held: Snapshot | None = None
    sought: bool = False
    asked: bool = False
    state: Mapping[str, Any] = field(default_factory=dict)
    loop: int = 0
    first: tuple[int, int] | None = None
    before: int | None = None
    yielded: int = 0
    random: Mapping[str, Any] | None = None
    validated: tuple[int | None, frozenset[str]] = (None, frozenset())


def copied(pieces: Iterable[Buffer]) -> list[bytes]:
    """Pieces of bytes in memory of their own: those of an adapter may be the weights themselves."""
    return [bytes(piece) for piece in pieces]


def contents_of(run: Run, model: Any, optimizer: Any, state: Mapping[str, Any]) -> dict[str, Iterable[Buffer]]:
    """Copies of weights and optimiser, and the rest as a tree that is made bytes of later, by another thread.

    Raises:
        ModelError: One of them cannot be stored; names it.
    """
    model = run.context.group.unwrapped(model)
    adapter = adapter_for(model)
    found: dict[str, Iterable[Buffer]] = {MODEL: copied(adapter.dump(model))}
    if optimizer is not None:
        found[OPTIMIZER] = copied(adapter.dump_optimizer(model, optimizer))
    found[STATE] = capture({"framework": adapter.name, **state}, "checkpoint")
    return found


def random_of_all(run: Run) -> list[Any]:
    """States of the random numbers of every rank."""
    if run.world_size == 1:
        return [random_states()]
    return [restored(data) for data in run.context.group.gather(b"".join(capture(random_states())))]


def load_weights(run: Run, held: Snapshot, model: Any, optimizer: Any) -> tuple[Any, Any]:
    """Put weights and optimiser of a checkpoint into those of the run; they, or the new ones that were made.

    Raises:
        MismatchError: They do not fit; names what differs.
    """
    plain = run.context.group.unwrapped(model)
    adapter = adapter_for(plain)
    if (stored := run.track.state.get("framework")) != adapter.name:
        raise MismatchError(f"the model is one of {adapter.name}, and the checkpoint one of {stored}")
    if (OPTIMIZER in held.contents) != (optimizer is not None):
        sides = ("has", "none was given") if optimizer is None else ("has not", "one was given")
        raise MismatchError(f"the checkpoint {sides[0]} the state of an optimiser, and {sides[1]} to run.resume")
    made = adapter.load(held.data(MODEL), plain)
    if optimizer is not None:
        optimizer = adapter.load_optimizer(held.data(OPTIMIZER), made, optimizer)
    return (model if made is plain else made), optimizer


def kept_also(also: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of the things that change beside model and optimiser, by name: how, and the tree.

    Raises:
        ModelError: One is neither a value nor a thing with a state; names it.
    """
    return {name: _kept(thing) for name, thing in also.items()}


def _kept(thing: Any) -> tuple[str, Any]:
    if (adapter := _adapter(thing)) is not None:
        return "model", b"".join(map(bytes, adapter.dump(thing)))
    if _has_state(thing):
        return "state", thing.state_dict()
    return "value", thing


def load_also(kept: Mapping[str, Any], also: Mapping[str, Any]) -> dict[str, Any]:
    """Put back what :func:`kept_also` kept; the plain values among it.

    Raises:
        MismatchError: One was not kept, or does not fit; names it.
    """
    stateful = {name: thing for name, thing in also.items() if _adapter(thing) is not None or _has_state(thing)}
    if odd := sorted(stateful.keys() ^ {name for name, (kind, _) in kept.items() if kind != "value"}):
        where = "of the checkpoint" if odd[0] in kept else "given to run.resume"
        raise MismatchError(f"also={odd[0]!r} is one {where} alone", "Give the same to checkpoint and resume.")
    for name, thing in stateful.items():
        _load(name, thing, *kept[name])
    return {name: value for name, (kind, value) in kept.items() if kind == "value"}


def _load(name: str, thing: Any, kind: str, value: Any) -> None:
    adapter = _adapter(thing)
    if (kind == "model") != (adapter is not None):
        raise MismatchError(f"also={name!r} is a {type(thing).__name__} now, and was something else")
    try:
        if adapter is not None:
            adapter.load(value, thing)
        else:
            thing.load_state_dict(value)
    except MismatchError as error:
        raise MismatchError(f"also={name!r}: {error.message}", error.remedy) from error
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise MismatchError(f"also={name!r}: its state does not fit: {error}") from error


def _has_state(thing: Any) -> bool:
    return callable(getattr(thing, "state_dict", None)) and callable(getattr(thing, "load_state_dict", None))


def _adapter(thing: Any) -> Adapter | None:
    """The adapter of another model, such as a discriminator; dicts and arrays are values."""
    if thing is None or isinstance(thing, bool | int | float | str | bytes | dict | list | tuple):
        return None
    try:
        found = adapter_for(thing)
    except ModelError:
        return None
    return found if found.needs_target else None


def state_of(held: Snapshot) -> dict[str, Any]:
    """The part of a checkpoint that is neither weights nor optimiser.

    Raises:
        CorruptBlobError: It is something else.
    """
    found = restored(held.data(STATE))
    if not isinstance(found, dict):
        raise CorruptBlobError(f"{held} holds no state")
    return found

"""Reading back where a feed was: everything about a state that can be told without its rows is checked first."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from bson import Timestamp

from nemesyst.feed.order import Leg
from nemesyst.feed.split import PARTS

VERSION = 1

_COUNT = 2**53
_RANKS = 2**16
"""Ranks of a leg, at most; more would take long to go through."""
_LEGS = 1000


class State(NamedTuple):
    """What ``state_dict()`` gave.

    Attributes:
        version: Of its form.
        fingerprint: The specification's.
        plan: Key of the plan.
        bounds: Digest of its bounds.
        time: The cutoff.
        parts: Epoch and legs of each part.
    """

    version: Any
    fingerprint: Any
    plan: str
    bounds: str
    time: Timestamp
    parts: dict[str, tuple[int, tuple[Leg, ...]]]


def state_of(values: Any) -> State:
    """A state as JSON values, taken apart.

    Raises:
        ValueError: It is none; says why.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"it is {_shown(values)}, not a dict")  # noqa: TRY004 - one error for all that is no state
    for name in ("version", "fingerprint", "plan", "bounds", "as_of", "parts"):
        if name not in values:
            raise ValueError(f"{name!r} is lacking")
    time, parts = values["as_of"], values["parts"]
    if not isinstance(time, list | tuple) or len(time) != 2 or not all(_counts(n, 2**32 - 1) for n in time):
        raise ValueError(f"as_of={_shown(time)} is not a cluster time")
    if not isinstance(parts, Mapping) or not set(parts) <= {"all", *PARTS}:
        raise ValueError(f"parts={_shown(parts)} are not parts of a feed")
    return State(
        values["version"],
        values["fingerprint"],
        str(values["plan"]),
        str(values["bounds"]),
        Timestamp(*time),
        {name: position_of(part) for name, part in parts.items()},
    )


def position_of(values: Any) -> tuple[int, tuple[Leg, ...]]:
    """The epoch and the legs of a part.

    Raises:
        ValueError: They are not what a feed gives; says why.
    """
    if not isinstance(values, Mapping) or not {"epoch", "legs"} <= set(values):
        raise ValueError(f"{_shown(values)} does not say where a part is")
    epoch, legs = values["epoch"], values["legs"]
    if not _counts(epoch, _COUNT):
        raise ValueError(f"epoch={_shown(epoch)}")
    if not isinstance(legs, list | tuple) or len(legs) > _LEGS:
        raise ValueError(f"legs={_shown(legs)} are not up to {_LEGS} legs")
    found = tuple(_leg(leg) for leg in legs)
    for one, other in pairwise(found):
        if one[:2] == other[:2]:  # who goes on on as many ranks goes on with the same leg
            raise ValueError(f"two legs that follow each other, {list(one)} and {list(other)}, are on as many ranks")
    return int(epoch), found


def _leg(values: Any) -> Leg:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(f"leg {_shown(values)} is not ranks, even, steps")
    world, even, steps = values
    if not _counts(world, _RANKS) or world < 1 or not isinstance(even, bool) or not _counts(steps, _COUNT):
        raise ValueError(f"leg {_shown(values)} is not ranks, even, steps")
    return Leg(world, even, steps)


def _counts(value: Any, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _shown(value: Any) -> str:
    return f"{value!r:.60}"

"""Stretches of a collection, whose bounds are found independently of each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from nemesyst.feed.plan.between import precedes
from nemesyst.feed.plan.key import alike

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nemesyst.feed.plan.key import Bound


class Read(NamedTuple):
    """Rows that were read to find where they end.

    Attributes:
        rows: The rows.
        first: Their first bound; None if there are none.
        following: The bound of the row after them; None if there is none.
    """

    rows: Any
    first: Bound | None
    following: Bound | None


@dataclass
class Stretch:
    """Rows of one type whose bounds are found one after the other, by one thread at a time.

    Attributes:
        find: Looks for the first bound.
        point: From where on; None: from the first row of its type on.
        high: Up to where; None: to the end of the type.
        growing: Whether its chunks are sized by their numbers, as all before them are known, and it may be divided.
        bounds: Those that are known.
        rows: Rows that were read already, by number of the chunk in it.
        told: How many of its bounds have numbers.
        busy: Whether a thread looks for the next one.
        done: Whether there are no more.
    """

    find: Callable[[], Bound | None]
    point: Bound | None = None
    high: Bound | None = None
    growing: bool = False
    bounds: list[Bound] = field(default_factory=list)
    rows: dict[int, Any] = field(default_factory=dict)
    told: int = 0
    busy: bool = False
    done: bool = False


class Found(NamedTuple):
    """What one look for the next bounds of a stretch has found.

    Attributes:
        bounds: The bounds; a None among them does not count.
        done: Whether there are no more.
        rows: Rows of the last chunk whose beginning was known, if they were read; else None.
        divided: Stretches behind it, which it was divided into.
        behind: The first bound behind a stretch that has turned out to be empty; None: that is not known.
    """

    bounds: Sequence[Bound | None] = ()
    done: bool = False
    rows: Any = None
    divided: Sequence[Stretch] = ()
    behind: Bound | None = None


def pass_over(stretches: Iterable[Stretch], empty: Stretch, behind: Bound) -> None:
    """Look no more into the stretches between one that is empty and the first row behind it."""
    here = False
    for stretch in stretches:
        if here and (stretch.high is None or not _ends_by(stretch.high, behind)):
            return
        if here and not stretch.busy and not stretch.bounds:
            stretch.done = True
        here = here or stretch is empty


def _ends_by(high: Bound, bound: Bound) -> bool:
    """Whether what lies before ``high`` surely lies before another bound."""
    return alike(high, bound) or precedes(high[0], bound[0])

"""What an array's name says about its place in a window.

y, weight      the steps of the horizon
known          the steps of the horizon
static         one step, the last of the inputs; so x.static
all others     the steps of the inputs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from nemesyst.feed.windows.spec import Window

AHEAD = frozenset({"y", "known", "weight"})
ANCHOR = "#anchor"
"""The array of the field whose changes are events."""
MEASURED = "#measured."
"""Begins the name of an array that tells which values of a grid were measured (bool)."""
AGE = "#age."
"""Begins the name of an array that tells how many cells ago a value was measured (int32; -1: nowhere near)."""

Place = Literal["past", "ahead", "one"]


def place(name: str) -> Place:
    """Which steps of a window an array gives."""
    if name in AHEAD:
        return "ahead"
    return "one" if name in ("static", "x.static") else "past"


def masked(name: str) -> bool:
    """Whether a batch tells which of an array's values were measured."""
    return not name.startswith("#") and (name == "y" or place(name) == "past")


def aged(name: str) -> bool:
    """Whether an array's values at the end of the inputs may not come from a line into the future."""
    return masked(name) and place(name) == "past"


def mask_of(name: str) -> str:
    """The name in a batch: ``mask`` for ``x``, ``mask.seq`` for ``x.seq``, ``mask.y`` for ``y``."""
    return "mask" if name == "x" else f"mask.{name.removeprefix('x.')}"


def steps_of(window: Window | None, name: str) -> int:
    """How many steps of a window an array in a batch has; 0: it has no axis of them."""
    if window is None or place(name) == "one":
        return 0
    return window.horizon if place(name) == "ahead" else window.length

"""Which fields of a row become which arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.spec import Feed


@dataclass(frozen=True)
class Fields:
    """Fields by the array that they become.

    Attributes:
        groups: Stacked inputs, such as ``{"x": ("air", "power")}`` or ``{"x.seq": ..., "x.static": ...}``.
        targets: Fields of ``y``. Without groups and targets each field is an array of its own.
        weight: Field of ``weight``.
        keys: Fields that decide on parts and windows.
    """

    groups: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...] = ()
    weight: str | None = None
    keys: tuple[str, ...] = ()

    @property
    def used(self) -> list[str]:
        """Fields that become arrays for the user; empty: all of a row's."""
        asked = [*(name for fields in self.groups.values() for name in fields), *self.targets]
        return list(dict.fromkeys([*asked, *([self.weight] if asked and self.weight else [])]))

    @property
    def names(self) -> list[str] | None:
        """Fields to decode; None: all of them."""
        used = self.used
        return list(dict.fromkeys([*used, *self.keys])) if used else None


def fields_of(spec: Feed, keys: Sequence[str]) -> Fields:
    """The fields that a specification names."""
    inputs = spec.inputs or ()
    groups = {f"x.{name}": tuple(each) for name, each in inputs.items()} if isinstance(inputs, Mapping) else {}
    if inputs and not groups:
        groups = {"x": tuple(inputs)}
    if spec.window is not None and spec.window.known:
        groups["known"] = tuple(spec.window.known)
    weight = spec.weight if isinstance(spec.weight, str) and spec.weight != "balanced" else None
    return Fields(groups, tuple(spec.targets or ()), weight, tuple(keys))

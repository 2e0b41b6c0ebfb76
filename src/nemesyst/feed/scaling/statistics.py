"""What a scale consists of: a centre and a spread for each field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from nemesyst.errors import FeedError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

Method = Literal["standard", "minmax", "robust"]
METHODS: tuple[Method, ...] = get_args(Method)

_SMALLEST = float(np.finfo(np.float32).smallest_subnormal)


def check_scale(scale: Any) -> Method | None:
    """The ``scale`` of a specification.

    Raises:
        FeedError: It is none of :data:`METHODS`, nor None.
    """
    if scale is None or (isinstance(scale, str) and scale in METHODS):
        return scale
    meant = f"; {nearest(scale, list(METHODS))}" if isinstance(scale, str) and scale else ""
    raise FeedError(
        f"Feed: scale={scale!r} is not a way to scale",
        f"Give {', '.join(map(repr, METHODS[:-1]))} or {METHODS[-1]!r}, or None to scale nothing{meant}",
    )


@dataclass(frozen=True)
class Statistics:
    """Centre and spread of fields, by which ``(value - centre) / spread`` scales.

    Attributes:
        method: ``"standard"``: mean and standard deviation (of the population, as scikit-learn has it);
            ``"minmax"``: smallest value and range, so that the train part lies in 0 to 1; ``"robust"``: median and
            interquartile range.
        fields: Names, in the order of an array's last axis; a single one stands for all elements of its array.
        centre: One number for each field, in the field's unit.
        spread: One number for each field, above 0; 1 where all values are equal or none is there.
        count: Rows that were looked at (elements, for a field of arrays).
    """

    method: Method
    fields: tuple[str, ...]
    centre: tuple[float, ...]
    spread: tuple[float, ...]
    count: int

    def as_dict(self) -> dict[str, Any]:
        """The statistics as JSON values; JSON keeps every bit of them."""
        lists = {name: list(getattr(self, name)) for name in ("fields", "centre", "spread")}
        return {"method": self.method, **lists, "count": self.count}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make statistics from what :meth:`as_dict` gave."""
        numbers = {name: tuple(float(number) for number in values[name]) for name in ("centre", "spread")}
        return cls(values["method"], tuple(values["fields"]), numbers["centre"], numbers["spread"], values["count"])

    def over(self, fields: Sequence[str]) -> Self:
        """The same for an array with more fields, of which those that are not here (codes of categories) stay as is."""
        known = dict(zip(self.fields, zip(self.centre, self.spread, strict=True), strict=True))
        pairs = [known.get(field, (0.0, 1.0)) for field in fields]
        centre, spread = zip(*pairs, strict=True) if pairs else ((), ())
        return type(self)(self.method, tuple(fields), centre, spread, self.count)


def usable(spread: float) -> float:
    """The spread, or 1 where float32 would make 0 of it: a constant field is centred, and not divided by 0."""
    return spread if spread >= _SMALLEST else 1.0

"""What a window is: frozen, checked when it is made, the same however its options are spelt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

from nemesyst.errors import FeedError, nearest
from nemesyst.feed.pipeline import load_pipeline
from nemesyst.feed.windows.durations import canonical, duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from typing import Self

    from nemesyst.feed.pipeline import Stage

FILLS = ("mean", "last", "linear")


@dataclass(frozen=True, kw_only=True)
class Window:
    """Sequences of consecutive steps of one device: ``length`` steps of inputs, then ``horizon`` steps of targets.

    A step is a row, or with ``every`` a cell of a regular grid. No window reaches across two devices, two readings
    that are more than ``max_gap`` apart, or two parts of the split. Of rows with the same device and time the one
    that arrived last (largest ``_id``) counts; a row that arrives late stands where its time says.

    Args:
        by: Field that names the device; dotted names reach into documents. None: all rows are one device's.
        on: Field of time: dates, or numbers in any unit.
        length: Steps of the inputs.
        horizon: Steps of the targets, right after the inputs. 0: the target is that of the last input step.
        stride: Every how many steps a window begins, counted from the device's first step; with ``every`` from
            the epoch (time 0), so that late rows move no window.
        every: Step of the grid, ``"10s"`` or a number in the unit of ``on``; cells begin at whole multiples of it.
            None: the rows themselves are the steps.
        max_gap: Readings further apart than this do not meet in one window. With ``every`` also how far empty cells
            are filled, 3 steps by default; else None, which allows any distance.
        anchor: Windows around events instead of sliding ones. A field: an event is each row that holds another
            value than the device's row before. Stages: each document that they yield is an event, with the fields
            ``by`` and ``on``. The first row at or after the event, with ``every`` the cell that it lies in, is the
            first step of the horizon (with ``horizon=0`` the last of the inputs). Several events that one step shows
            make one window.
        fill: Which value a cell gets with ``every``: ``"mean"`` (default) or ``"last"`` of its readings, and empty
            cells the value before; or ``"linear"``: the mean, and empty cells lie on the line between their
            neighbours, except at the end of the inputs, where that line would tell the future. Texts, booleans,
            classes and images of bytes are always the last, also where they stand among numbers.
        known: Fields known ahead of time, such as a price or a set point: ``batch["known"]`` of shape
            (batch, horizon, known), float32.
        with_time: Whether a batch tells ``"device"`` and ``"time"``, that of the last input step; shape (batch,).

    Raises:
        FeedError: An argument does not fit; ``PipelineError`` for stages of ``anchor``.

    >>> Window(on="t", length=8, every="60s") == Window(on="t", length=8, every="1min", max_gap="3min")
    True
    """

    by: str | None = None
    on: str
    length: int
    horizon: int = 1
    stride: int = 1
    every: str | float | timedelta | None = None
    max_gap: str | float | timedelta | None = None
    anchor: str | Sequence[Stage] | None = None
    fill: Literal["mean", "last", "linear"] | None = None
    known: str | Sequence[str] = ()
    with_time: bool = False

    def __post_init__(self) -> None:
        for name, least in (("length", 1), ("horizon", 0), ("stride", 1)):
            self._set(name, _whole(name, getattr(self, name), least))
        _name("on", self.on)
        if self.by is not None:
            _name("by", self.by)
        if not isinstance(self.with_time, bool):
            raise FeedError(f"Window: with_time={self.with_time!r}", "It is True or False.")
        self._settle_times()
        self._settle_fill()
        self._settle_known()
        self._settle_anchor()

    @property
    def span(self) -> int:
        """Steps of a window, inputs and targets together."""
        return self.length + self.horizon

    @property
    def ordinal(self) -> bool:
        """Whether the place of a row among its device's rows decides which windows there are (see ``carried``)."""
        return self.stride > 1 and self.every is None

    @property
    def fields(self) -> list[str]:
        """Fields that windows need beside inputs and targets; ``known`` is apart."""
        anchor = [self.anchor] if isinstance(self.anchor, str) else []
        return list(dict.fromkeys([*([] if self.by is None else [self.by]), self.on, *anchor]))

    def as_dict(self) -> dict[str, Any]:
        """The canonical arguments; all but values inside the stages of ``anchor`` are JSON values."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**values, "known": list(values["known"])}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a window from what :meth:`as_dict` gave.

        Raises:
            FeedError: A name is not one of a window.
        """
        names = [each.name for each in fields(cls)]
        if not isinstance(values, Mapping):
            raise FeedError(f"Window: {values!r:.80} is not a window's values", "Give what as_dict() gave.")
        for name in values:
            if name not in names:
                raise FeedError(f"Window: there is no {name!r}", nearest(name, names))
        return cls(**values)

    def _settle_times(self) -> None:
        for name in ("every", "max_gap"):
            if getattr(self, name) is not None:
                self._set(name, _time(name, getattr(self, name)))
        every, gap = self.every, self.max_gap
        if every is None:
            return
        if gap is None:
            self._set(
                "max_gap", canonical(f"{3 * duration(every)}ms" if isinstance(every, str) else 3 * _number(every))
            )
        elif isinstance(every, str) != isinstance(gap, str):
            raise FeedError(
                f"Window: every={every!r} and max_gap={gap!r} are not in one unit",
                f'Write both like "10s" if {self.on} holds dates, both as numbers if it holds numbers.',
            )
        elif _number(gap) < _number(every):
            raise FeedError(
                f"Window: max_gap={gap!r} is shorter than every={every!r}",
                "Two readings in neighbouring cells may be that far apart: make max_gap longer.",
            )

    def _settle_fill(self) -> None:
        if self.fill is not None and self.every is None:
            raise FeedError(f"Window: fill={self.fill!r} without every", 'Give the step of the grid, every="10s".')
        if self.every is not None:
            self._set("fill", self.fill or "mean")
        if self.fill is not None and self.fill not in FILLS:
            raise FeedError(f"Window: fill={self.fill!r}", nearest(str(self.fill), list(FILLS)))

    def _settle_known(self) -> None:
        names = (self.known,) if isinstance(self.known, str) else self.known
        if not isinstance(names, list | tuple):
            raise FeedError(f"Window: known={self.known!r} is not a list of field names", 'Write known=["price"].')
        for name in names:
            _name("known", name)
        if len(set(names)) < len(names):
            raise FeedError(f"Window: known={list(names)} names a field twice", "Name each field once.")
        if names and self.horizon == 0:
            raise FeedError("Window: known= with horizon=0", "Make horizon 1 or more, or move the fields to inputs.")
        self._set("known", tuple(names))

    def _settle_anchor(self) -> None:
        if self.anchor is None:
            return
        if isinstance(self.anchor, str):
            _name("anchor", self.anchor)
        else:
            if not isinstance(self.anchor, list | tuple):
                raise FeedError(
                    f"Window: anchor={self.anchor!r} is neither the name of a field nor a list of stages",
                    'Write anchor="door", or anchor=[{"$match": {"alarm": True}}].',
                )
            self._set("anchor", load_pipeline(self.anchor, "Window: anchor"))
            if not self.anchor:
                raise FeedError("Window: anchor=[] has no stages", 'Give a field, or stages such as [{"$match": ...}].')
        if self.stride > 1:
            raise FeedError(
                f"Window: stride={self.stride} with anchor", "The events say where windows are: leave it out."
            )
        if self.span < 2:
            raise FeedError("Window: anchor with length=1 and horizon=0", "Make length or horizon longer.")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise FeedError(f"Window: {name}={value!r}", f"Give a whole number of steps, {least} or more.")
    return int(value)


def _name(argument: str, value: Any) -> None:
    if not isinstance(value, str) or not value or value.startswith("$"):
        example = {"on": "t", "known": "price", "anchor": "door"}.get(argument, "unit")
        raise FeedError(
            f"Window: {argument}={value!r} is not the name of a field", f'Write {argument}="{example}", say.'
        )


def _time(argument: str, value: Any) -> str | float:
    try:
        return canonical(value)
    except FeedError as error:
        raise FeedError(f"Window: {argument}={error.message}", error.remedy) from None


def _number(value: Any) -> float:
    return duration(value) if isinstance(value, str) else value

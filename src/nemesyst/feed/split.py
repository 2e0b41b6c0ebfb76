"""How rows are divided into train, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from nemesyst.errors import FeedError

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """How rows are shared between train, validation and test; a row never changes sides as data grows.

    Args:
        by: Field whose hash decides; rows with the same value stay together. Default: the device of a window,
            else ``_id``.
        validation: Share of the validation part, 0 to 1.
        test: Share of the test part, 0 to 1.
        on: Field of time, a date or a number, that ``validation_from`` and ``test_from`` are about.
        validation_from: From then on rows are of the validation part, up to ``test_from``.
        test_from: From then on rows are of the test part. With shares, too, a part has its share of the values
            of ``by`` *and* its time: unseen devices in unseen weeks; what is neither is in no part.
        field: Field that names the part of a row outright (``"train"``, ``"validation"`` or ``"test"``);
            shares and times then divide what it calls ``"train"``.

    Raises:
        FeedError: Shares that are negative, or leave nothing to train on; a time without its field.
    """

    by: str | None = None
    validation: float = 0.0
    test: float = 0.0
    on: str | None = None
    test_from: datetime | float | None = None
    validation_from: datetime | float | None = None
    field: str | None = None

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            share = getattr(self, name)
            share = share.item() if isinstance(share, np.number) else share
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
                raise FeedError(f"Split: {name}={share!r} is not a share", "Give a number from 0 up to, not with, 1.")
            object.__setattr__(self, name, share)
        if self.validation + self.test >= 1:
            raise FeedError(
                f"Split: validation {self.validation} and test {self.test} leave nothing to train on",
                "Make them smaller: together less than 1.",
            )
        for name in ("by", "on", "field"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value):
                raise FeedError(f"Split: {name}={value!r} is not the name of a field", f'Write {name}="unit".')
        self._settle_times()

    def _settle_times(self) -> None:
        for name in ("validation_from", "test_from"):
            object.__setattr__(self, name, _moment(name, getattr(self, name)))
        first, last = self.validation_from, self.test_from
        if (first is not None or last is not None) and self.on is None:
            raise FeedError("Split: a part begins at a time, and on= is not given", 'Name the time: on="t".')
        if self.on is not None and first is None and last is None:
            raise FeedError(
                f"Split: on={self.on!r} without a time",
                "Give test_from= or validation_from=: shares of time would move rows from part to part as data grows.",
            )
        if first is not None and last is not None:
            if isinstance(first, datetime) != isinstance(last, datetime):
                raise FeedError(
                    "Split: validation_from and test_from are of two kinds", "Give two dates, or two numbers."
                )
            if not first < last:  # type: ignore[operator]  # of one kind
                raise FeedError("Split: validation_from is not before test_from", "The test part comes last.")

    @property
    def shares(self) -> bool:
        """Whether the hash of a key divides rows."""
        return bool(self.validation or self.test)

    @property
    def key(self) -> str | None:
        """The field whose hash divides rows; None when no share does."""
        return (self.by or "_id") if self.shares else None

    @property
    def names(self) -> list[str]:
        """Fields that decide the part of a row."""
        return [name for name in (self.key, self.on, self.field) if name is not None]


def _moment(name: str, value: Any) -> datetime | float | None:
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise FeedError(f"Split: {name}={value!r} is not a date", 'Such as "2026-01-31T12:00:00Z".') from None
    if isinstance(value, np.datetime64 | np.number):
        value = value.astype("datetime64[ms]").item() if isinstance(value, np.datetime64) else value.item()
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
        raise FeedError(f"Split: {name}={value!r} is neither a date nor a number", "Give what the field holds.")
    return value

"""Whether a version may have been trained on the rows that it is evaluated on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from nemesyst.errors import NemesystError
from nemesyst.models.evaluation.task import specification

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemesyst.feed import Feed, Split
    from nemesyst.models.registry import Models
    from nemesyst.types import Version

_GENERATIONS = 10
"""Parents of parents that are looked at; each is a look into the database."""


def caution(models: Models, version: Version, on: Feed, part: str | None) -> str | None:
    """Why a version may have been trained on some rows; None: no reason is known.

    It looks at collections and splits: that of the version itself, and those of the versions that it goes on from.

    Args:
        models: The registry.
        version: The version.
        on: Whose rows.
        part: Which part of them; None: all.
    """
    if (why := _why(specification(version), on, part)) is not None:
        return why
    for parent, spec in _parents(models, version):
        if _why(spec, on, part) is not None:
            return f"{parent.ref}, from which it goes on, may have been trained on some of these rows"
    return None


def unseen(own: Split | None, on: Split, part: str) -> bool:
    """Whether no row of a part of one split is of the train part of another.

    Args:
        own: How the rows of training were divided; None: not at all.
        on: How the rows of now are divided.
        part: ``"validation"`` or ``"test"``.
    """
    if own is None:
        return False
    if own == on:
        return True
    if own.field is not None or on.field is not None:
        return False
    first = on.test if part == "test" else on.test + on.validation  # hashes from 0 up to this
    hashed = own.key == on.key and getattr(on, part) > 0 and first <= own.test + own.validation
    return hashed or _later(own, on, getattr(on, f"{part}_from"))


def _later(own: Split, on: Split, begin: datetime | float | None) -> bool:
    """Whether a part begins when the train part of a split has ended."""
    ends = [each for each in (own.validation_from, own.test_from) if each is not None]
    if begin is None or not ends or own.on != on.on or isinstance(begin, datetime) != isinstance(ends[0], datetime):
        return False
    return bool(begin >= ends[0])  # type: ignore[operator]  # of one kind


def _why(own: Feed, on: Feed, part: str | None) -> str | None:
    if own.collection != on.collection:
        return f"it was trained on another collection, {own.collection}: it may have had some of these rows, too"
    if part in (None, "train") or on.split is None:
        return "may have been trained on these rows"
    if unseen(own.split, on.split, str(part)):
        return None
    return "its own split is another one: it may have been trained on some of these rows"


def _parents(models: Models, version: Version) -> Iterator[tuple[Version, Feed]]:
    """What a version goes on from, as far as that is known."""
    for _ in range(_GENERATIONS):
        if version.parent is None:
            return
        try:
            version = models.get(version.parent)
            if version.feed is not None:
                yield version, specification(version)
        except NemesystError:  # it is gone or damaged; the version itself is neither
            return

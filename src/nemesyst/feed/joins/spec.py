"""What is joined to the rows of a feed: the newest earlier row of another collection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError, PipelineError
from nemesyst.feed.judging.judge import judge
from nemesyst.feed.pipeline import Stage, fill, load_pipeline
from nemesyst.feed.windows.durations import canonical, duration

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


@dataclass(frozen=True)
class AsOf:
    """For each row of a feed, the newest row of another collection that is not later: never one from its future.

    Args:
        collection: The other collection.
        by: Field that is equal on both sides, such as the site; ``{"site": "site_id"}`` when the other collection
            calls it otherwise. None: all rows of the other collection belong to each row.
        on: Field of the time, a date or a number on both sides; names that differ as with ``by``. An equal time
            counts; of rows with equal ``by`` and ``on`` the one with the last ``_id``.
        fields: Fields to bring over; ``{"temp": "outside"}`` gives them other names.
        tolerance: How much older the other row may be: ``"1h"`` (as in a window) or a ``timedelta`` where the
            time is a date, a number where it is a number. None: any age.
        pipeline: Stages that the other rows go through first, one document at a time, or the path of a JSON file.
        prefix: Put before the names of the fields.

    Raises:
        FeedError: An argument does not fit; ``PipelineError`` for the pipeline.

    Where there is no such row, and where it lacks a field, the field is missing, and the feed's ``missing`` says what
    that means. Rows of the other collection without ``by`` or ``on``, or with another type there, are nobody's.
    Numbers and booleans come as float64.
    """

    collection: str
    by: str | Mapping[str, str] | None
    on: str | Mapping[str, str]
    fields: Sequence[str] | Mapping[str, str]
    tolerance: str | float | timedelta | None = None
    pipeline: str | Path | Sequence[Stage] | None = None
    prefix: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.collection, str) or not self.collection:
            raise FeedError(f"AsOf: collection={self.collection!r} is not a name", "Give the name of a collection.")
        if not isinstance(self.prefix, str):
            raise FeedError(f"AsOf: prefix={self.prefix!r} is not a text", 'Write prefix="weather_".')
        _set(self, "by", None if self.by is None else _pair("by", self.by))
        _set(self, "on", _pair("on", self.on))
        _set(self, "fields", _fields(self.fields))
        twice = {name for name in self.names if self.names.count(name) > 1}
        if twice:
            raise FeedError(f"AsOf: fields gives {', '.join(sorted(twice))} twice", "Give each field its own name.")
        _set(self, "tolerance", _tolerance(self.tolerance))
        _set(self, "pipeline", load_pipeline(self.pipeline, f"AsOf {self.collection}: pipeline"))

    @property
    def left_by(self) -> str | None:
        """The feed's name of ``by``."""
        return next(iter(self.by)) if self.by else None

    @property
    def right_by(self) -> str | None:
        """The other collection's name of ``by``."""
        return next(iter(self.by.values())) if isinstance(self.by, Mapping) else None

    @property
    def left_on(self) -> str:
        """The feed's name of ``on``."""
        return next(iter(self.on))

    @property
    def right_on(self) -> str:
        """The other collection's name of ``on``."""
        return str(next(iter(dict(self.on).values())))  # type: ignore[arg-type]  # a mapping since it was made

    @property
    def renamed(self) -> dict[str, str]:
        """Fields of the other collection, and their names in the feed."""
        return {field: f"{self.prefix}{name}" for field, name in dict(self.fields).items()}  # type: ignore[arg-type]

    @property
    def names(self) -> list[str]:
        """Names that the fields have in the feed."""
        return list(self.renamed.values())

    @property
    def span(self) -> float | None:
        """The tolerance as a number: ms where the time is a date, otherwise in its unit; None: any age."""
        return duration(self.tolerance) if isinstance(self.tolerance, str) else self.tolerance  # type: ignore[return-value]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The pipeline."""
        return self.pipeline or ()  # type: ignore[return-value]  # stages since it was made

    def filled(self, params: Mapping[str, Any]) -> Self:
        """The same join with the parameters of its pipeline put in, and the pipeline judged.

        Raises:
            PipelineError: A parameter has no value; or a stage looks across documents, or changes ``_id``.
        """
        stages = fill(self.stages, params)
        judgement = judge(stages)
        if not judgement.per_document:
            raise PipelineError(
                f"AsOf {self.collection}: its pipeline cannot be followed through time: {'; '.join(judgement.reasons)}",
                "Use stages that look at one document at a time; put what is grouped into a collection of its own.",
            )
        if not judgement.carries_id:
            raise PipelineError(
                f"AsOf {self.collection}: its pipeline changes _id or leaves it out, and rows after the cutoff are "
                "told by it",
                "Keep _id in the pipeline.",
            )
        return replace(self, pipeline=stages)

    def as_dict(self) -> dict[str, Any]:
        """The join as values that BSON knows; ``AsOf(**values)`` makes it again."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "pipeline": list(self.stages) or None}


def _tolerance(value: Any) -> str | float | None:
    """In its one spelling; equal times alone are 0."""
    if value is None or (not isinstance(value, bool) and value in (0, timedelta())):
        return value if value is None else 0
    try:
        return canonical(value)
    except FeedError as error:
        raise FeedError(f"AsOf: tolerance: {error.message}", error.remedy) from None


def _pair(argument: str, value: Any) -> dict[str, str]:
    """Name in the feed and name in the other collection."""
    pair = {value: value} if isinstance(value, str) else dict(value) if isinstance(value, Mapping) else {}
    if len(pair) != 1 or not all(isinstance(name, str) and name for name in (*pair, *pair.values())):
        raise FeedError(
            f"AsOf: {argument}={value!r} is not the name of one field",
            f'Write {argument}="site", or {argument}={{"site": "site_id"}} (the feed\'s name: the other\'s).',
        )
    return pair


def _fields(given: Any) -> dict[str, str]:
    """Names in the other collection and in the feed."""
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    pairs = list(given.items()) if isinstance(given, Mapping) else [(name, name) for name in names]
    if not pairs or not all(isinstance(name, str) and name for pair in pairs for name in pair):
        raise FeedError(f"AsOf: fields={given!r} is not a list of field names", 'Write fields=["temp", "wind"].')
    if len(dict(pairs)) < len(pairs):
        raise FeedError(f"AsOf: fields={given!r} names one twice", "Name each field once.")
    return dict(pairs)


def _set(spec: AsOf, name: str, value: object) -> None:
    object.__setattr__(spec, name, value)

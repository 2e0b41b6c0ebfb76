"""What a feed yields: frozen, checked when it is made, and serialisable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import xxhash
from bson import json_util

from nemesyst.errors import FeedError, nearest
from nemesyst.feed.pipeline import Stage, fill, load_pipeline

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self


@dataclass(frozen=True)
class Split:
    """How rows are shared between train, validation and test; a row never changes sides as data grows.

    Args:
        by: Field whose hash decides; rows with the same value stay together. Default: ``_id``.
        validation: Share of the validation part, 0 to 1.
        test: Share of the test part, 0 to 1.
        field: Field that names the part of a row outright (``"train"``, ``"validation"`` or ``"test"``);
            ``validation`` and ``test`` then divide what it calls ``"train"``.

    Raises:
        FeedError: Shares that are negative, or leave nothing to train on.
    """

    by: str | None = None
    validation: float = 0.0
    test: float = 0.0
    field: str | None = None

    def __post_init__(self) -> None:
        for name in ("validation", "test"):
            share = getattr(self, name)
            if not isinstance(share, int | float) or not 0 <= share < 1:
                raise FeedError(f"Split: {name}={share!r} is not a share", "Give a number from 0 up to, not with, 1.")
        if self.validation + self.test >= 1:
            raise FeedError(
                f"Split: validation {self.validation} and test {self.test} leave nothing to train on",
                "Make them smaller.",
            )


@dataclass(frozen=True)
class Feed:
    """A stream of batches that a pipeline over a collection yields.

    Args:
        collection: Where the rows are.
        pipeline: Aggregation stages, or the path of a JSON file with them; ``{"$param": name}`` is filled in.
        params: Values of the parameters.
        inputs: Fields that become ``batch["x"]``; dotted names reach into documents.
        targets: Fields that become ``batch["y"]``. Without inputs and targets each field is an array of its own.
        split: Train, validation and test parts; None: all rows are the train part.
        batch_size: Rows of a batch; the last one of an epoch may be shorter.
        shuffle: Whether rows are shuffled within blocks, anew in each epoch.
        seed: Seed of the shuffle.
        missing: What becomes of values that are missing or null: ``"error"``; ``"nan"``; ``"drop"``, which leaves
            the row out; or a number to stand for them.

    Raises:
        FeedError: An argument does not fit; ``PipelineError`` for the pipeline.

    Numeric fields stack to float32 of shape (rows, fields). A single field of arrays keeps its dtype and shape.
    A single integer target keeps int64 of shape (rows,).
    """

    collection: str
    pipeline: str | Path | Sequence[Stage] | None = None
    params: Mapping[str, Any] | None = None
    inputs: str | Sequence[str] | None = None
    targets: str | Sequence[str] | None = None
    split: Split | None = None
    batch_size: int = 256
    shuffle: bool = False
    seed: int = 0
    missing: Literal["error", "nan", "drop"] | float = "error"

    def __post_init__(self) -> None:
        if not isinstance(self.collection, str) or not self.collection:
            raise FeedError(f"Feed: collection={self.collection!r} is not a name", "Give the name of a collection.")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise FeedError(f"Feed: batch_size={self.batch_size!r}", "Give a whole number of rows, 1 or more.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise FeedError(f"Feed: seed={self.seed!r}", "Give a whole number, 0 or more.")
        if self.split is not None and not isinstance(self.split, Split):
            raise FeedError(
                f"Feed: split={self.split!r} is not a nm.Split", "Write nm.Split(validation=0.1, test=0.1)."
            )
        if isinstance(self.missing, bool) or self.missing not in ("error", "nan", "drop"):
            _set(self, "missing", _number(self.missing))
        _set(self, "pipeline", load_pipeline(self.pipeline))
        _set(self, "params", dict(self.params or {}))
        _set(self, "inputs", _fields("inputs", self.inputs))
        _set(self, "targets", _fields("targets", self.targets))

    def stages(self, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The pipeline with its parameters put in; ``params`` come before the specification's own."""
        filled: list[dict[str, Any]] = fill(self.pipeline, {**(self.params or {}), **(params or {})})
        return filled

    def with_(self, **changes: Any) -> Self:
        """The same feed with some arguments changed."""
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """The specification as JSON values; dates and ids in MongoDB's extended JSON."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["split"] = None if self.split is None else vars(self.split)
        canonical: dict[str, Any] = json.loads(json_util.dumps(values, sort_keys=True))
        return canonical

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a specification from what :meth:`as_dict` gave.

        Raises:
            FeedError: A name is not one of a feed.
        """
        values = json_util.loads(json.dumps(values))
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise FeedError(f"Feed: there is no {name!r}", nearest(name, list(cls.__dataclass_fields__)))
        split = values.get("split")
        return cls(**{**values, "split": None if split is None else Split(**split)})

    @property
    def fingerprint(self) -> str:
        """A digest of the specification that does not depend on the machine or on how it was written."""
        return xxhash.xxh3_128_hexdigest(json.dumps(self.as_dict(), sort_keys=True).encode())


def _number(missing: Any) -> float:
    if isinstance(missing, bool) or not isinstance(missing, int | float) or missing != missing:  # noqa: PLR0124 - NaN
        raise FeedError(f"Feed: missing={missing!r}", 'It is "error", "nan", "drop", or a number.')
    return float(missing)


def _set(spec: Feed, name: str, value: object) -> None:
    object.__setattr__(spec, name, value)


def _fields(argument: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not names or any(not isinstance(name, str) or not name for name in names):
        raise FeedError(
            f"Feed: {argument}={value!r} is not a list of field names", f'Write {argument}=["air", "power"].'
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise FeedError(f"Feed: {argument} names {', '.join(sorted(twice))} twice", "Name each field once.")
    return names

"""What a feed yields: frozen, checked when it is made, and serialisable."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal

import xxhash
from bson import json_util

from nemesyst.errors import FeedError, nearest
from nemesyst.feed.augment import BatchMap
from nemesyst.feed.joins import AsOf
from nemesyst.feed.params import check_params, check_used
from nemesyst.feed.pipeline import Stage, fill, load_pipeline
from nemesyst.feed.scaling import Method, check_scale
from nemesyst.feed.split import Split
from nemesyst.feed.weights import check_weight
from nemesyst.feed.windows import Window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self


@dataclass(frozen=True)
class Feed:
    """A stream of batches that a pipeline over a collection yields.

    Args:
        collection: Where the rows are.
        pipeline: Aggregation stages, or the path of a JSON file with them; ``{"$param": name}`` is filled in.
        params: Values of the parameters; each must be asked for.
        inputs: Fields that become ``batch["x"]``; dotted names reach into documents. A mapping, such as
            ``{"seq": [...], "static": [...]}``, makes ``batch["x.seq"]`` and ``batch["x.static"]``; with a window
            ``static`` has one value for each window.
        targets: Fields that become ``batch["y"]``. Without inputs and targets each field is an array of its own.
        window: Sequences of rows instead of single ones.
        join: Newest earlier rows of other collections, whose fields can then be named.
        split: Train, validation and test parts; None: all rows are the train part.
        scale: ``"standard"``, ``"minmax"`` or ``"robust"``: numbers of inputs and targets by the statistics of the
            train part; a single target of whole numbers, booleans or texts (classes) stays as it is.
        weight: Adds ``batch["weight"]``: name of a field of numbers; ``"balanced"``; or a weight for each class.
        map: A function of a batch, and if it likes a ``numpy.random.Generator``, that changes batches of the train
            part; its source is part of the fingerprint.
        batch_size: Rows of a batch; the last one of an epoch may be shorter.
        shuffle: Whether rows of the train part are shuffled within blocks, anew in each epoch; those of the validation
            and test parts always come in the order of the plan.
        seed: Seed of the shuffle.
        missing: What becomes of values of inputs and targets that are missing or null: ``"error"``; ``"nan"``;
            ``"drop"``, which leaves the row out; or a number to stand for them. A stored NaN is a value.

    Raises:
        FeedError: An argument does not fit; ``PipelineError`` for the pipeline.

    Numeric fields stack to float32 of shape (rows, fields). A single field of arrays keeps its dtype and shape.
    A single target of whole numbers, booleans or texts is int64 of shape (rows,).
    """

    collection: str
    pipeline: str | Path | Sequence[Stage] | None = None
    params: Mapping[str, Any] | None = None
    inputs: str | Sequence[str] | Mapping[str, str | Sequence[str]] | None = None
    targets: str | Sequence[str] | None = None
    window: Window | None = None
    join: AsOf | Sequence[AsOf] | None = None
    split: Split | None = None
    scale: Method | None = None
    weight: str | Mapping[Any, float] | None = None
    map: Callable[..., Any] | None = None
    batch_size: int = 256
    shuffle: bool = False
    seed: int = 0
    missing: Literal["error", "nan", "drop"] | float = "error"

    def __post_init__(self) -> None:
        if not isinstance(self.collection, str) or not self.collection:
            raise FeedError(f"Feed: collection={self.collection!r} is not a name", "Give the name of a collection.")
        _set(self, "batch_size", _whole("batch_size", self.batch_size, 1, "a whole number of rows"))
        _set(self, "seed", _whole("seed", self.seed, 0, "a whole number"))
        if not isinstance(self.shuffle, bool):
            raise FeedError(f"Feed: shuffle={self.shuffle!r}", "It is True or False.")
        _set(self, "join", _joins(self.join))
        for name, kind, example in (
            ("split", Split, "nm.Split(validation=0.1, test=0.1)"),
            ("window", Window, 'nm.Window(by="unit", on="t", length=32)'),
        ):
            value = getattr(self, name)
            if value is not None and not isinstance(value, kind):
                raise FeedError(f"Feed: {name}={value!r} is not a nm.{kind.__name__}", f"Write {name}={example}.")
        _set(self, "scale", check_scale(self.scale))
        _set(self, "weight", check_weight(self.weight))
        if isinstance(self.missing, bool) or self.missing not in ("error", "nan", "drop"):
            _set(self, "missing", _number(self.missing))
        _set(self, "pipeline", load_pipeline(self.pipeline))
        _set(self, "params", dict(check_params("Feed", self.params)))
        _set(self, "inputs", _inputs(self.inputs))
        _set(self, "targets", _fields("targets", self.targets))
        self._check_together()

    def _check_together(self) -> None:
        anchor = None if self.window is None else self.window.anchor
        check_used(self.params or {}, self.pipeline, anchor, *(join.stages for join in self.join or ()))  # type: ignore[union-attr]  # a tuple by now
        if self.map is not None:
            BatchMap(self.map)  # raises for what is no function of a batch
        if self.window is not None:
            if not self.inputs:
                raise FeedError("Feed: a window needs inputs", 'Name them: inputs=["air", "power"].')
            if self.split is not None and self.split.shares and self.split.by is None and self.window.by is not None:
                _set(self, "split", replace(self.split, by=self.window.by))  # a device is on one side
        if self.scale is not None and not self.inputs and not self.targets:
            raise FeedError(
                "Feed: scale= scales inputs and targets, and there are none",
                'Name them, such as inputs=["air", "power"], or leave scale= out.',
            )
        of_classes = self.weight == "balanced" or (self.weight is not None and not isinstance(self.weight, str))
        if of_classes and len(self.targets or ()) != 1:
            raise FeedError(
                f"Feed: weight= weighs the classes of one target, and targets={list(self.targets or ())}",
                'Name one, such as targets="label".',
            )

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
        values["split"] = self.split and {k: v for k, v in vars(self.split).items() if v is not None}
        values["window"] = None if self.window is None else self.window.as_dict()
        values["join"] = [join.as_dict() for join in self.join or ()]  # type: ignore[union-attr]  # a tuple by now
        values["map"] = None if self.map is None else BatchMap(self.map).fingerprint["digest"]
        canonical: dict[str, Any] = json.loads(json_util.dumps(values, sort_keys=True))
        return canonical

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a specification from what :meth:`as_dict` gave; without its ``map``, of which only the source was kept.

        Raises:
            FeedError: A name is not one of a feed.
        """
        values = json_util.loads(json.dumps(values), json_options=_AWARE)
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise FeedError(f"Feed: there is no {name!r}", nearest(name, list(cls.__dataclass_fields__)))
        split, window = values.get("split"), values.get("window")
        try:
            made = {
                "split": None if split is None else Split(**split),
                "window": None if window is None else Window.from_dict(window),
                "join": [AsOf(**join) for join in values.get("join") or ()],
                "map": None,
            }
            none = {name: None for name in ("inputs", "targets") if values.get(name) == []}
            return cls(**{**values, **none, **made})
        except TypeError as error:  # a name that is lacking, or that split, window or join do not have
            raise FeedError(
                f"Feed: these are not the values of a specification: {str(error).replace('.__init__()', '')}",
                "Give what as_dict() gave, or a version's feed.",
            ) from None

    @property
    def fingerprint(self) -> str:
        """A digest of the specification that does not depend on the machine or on how it was written."""
        return digest_of(self.as_dict())

    def rows_fingerprint(self, stages: Sequence[Stage]) -> str:
        """A digest of what decides on rows and their arrays, with the parameters put in."""
        left_out = ("params", "scale", "map", "batch_size", "shuffle", "seed")
        values = {name: value for name, value in self.as_dict().items() if name not in left_out}
        if not (isinstance(self.weight, str) and self.weight != "balanced"):
            values["weight"] = None
        return digest_of({**values, "pipeline": json.loads(json_util.dumps(list(stages)))})


def digest_of(values: Any) -> str:
    """A digest of JSON values that does not depend on the order of names."""
    return xxhash.xxh3_128_hexdigest(json.dumps(values, sort_keys=True).encode())


_AWARE = json_util.JSONOptions(tz_aware=True)


def _joins(value: Any) -> tuple[AsOf, ...]:
    joins = (value,) if isinstance(value, AsOf) else tuple(value) if isinstance(value, Iterable) else ()
    if (value is not None and not joins and value not in ([], ())) or not all(isinstance(j, AsOf) for j in joins):
        raise FeedError(f"Feed: join={value!r} is not a list of nm.AsOf", 'Write join=[nm.AsOf("weather", ...)].')
    names = [name for join in joins for name in join.names]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise FeedError(f"Feed: two joins give {', '.join(sorted(twice))}", 'Use prefix="weather_".')
    return joins


def _inputs(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return _fields("inputs", value)
    for name in value:
        if not isinstance(name, str) or not name.isidentifier():
            raise FeedError(f"Feed: inputs: {name!r} is not a name", 'Such as {"seq": [...], "static": [...]}.')
    return {name: _fields(f"inputs[{name!r}]", fields) for name, fields in value.items()}


def _number(missing: Any) -> float:
    if isinstance(missing, bool) or not isinstance(missing, Real) or missing != missing:  # noqa: PLR0124 - NaN
        raise FeedError(f"Feed: missing={missing!r}", 'It is "error", "nan", "drop", or a number.')
    return float(missing)


def _whole(argument: str, value: Any, least: int, what: str) -> int:
    """A whole number, NumPy's too."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise FeedError(f"Feed: {argument}={value!r}", f"Give {what}, {least} or more.")
    return int(value)


def _set(spec: Feed, name: str, value: object) -> None:
    object.__setattr__(spec, name, value)


def _fields(argument: str, value: Any) -> tuple[str, ...]:
    if value is None or value == ():  # as it is once a specification is made
        return ()
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else ()
    if not names or any(not isinstance(name, str) or not name or name.startswith("$") for name in names):
        raise FeedError(
            f"Feed: {argument}={value!r} is not a list of field names", f'Write {argument}=["air", "power"].'
        )
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise FeedError(f"Feed: {argument} names {', '.join(sorted(twice))} twice", "Name each field once.")
    return names

"""What a script declares: wranglers, learners and predictors.

The decorators give the function back as it was, with a note of what it is for, so that it stays a plain
function that can be called and tested without the framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, cast

from nemesyst.database import check_put
from nemesyst.errors import ScriptError
from nemesyst.feed import PARTS, Feed
from nemesyst.models import Reference, check_alias
from nemesyst.stages.best import Best
from nemesyst.stages.checking import check_learner, check_resources
from nemesyst.stages.entities import Entities, entities_of
from nemesyst.stages.grid import check_grid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Function = TypeVar("Function", bound=Callable[..., Any])
_NOTE = "__nemesyst__"
_declared: ContextVar[list[tuple[Stage, Any]] | None] = ContextVar("declared", default=None)


@dataclass(frozen=True)
class Trained:
    """What a learner returns or yields: a model, and what is worth knowing of it.

    Attributes:
        model: A model of any supported framework.
        metrics: Numbers, such as ``{"accuracy": 0.98}``.
        args: Arguments that rebuild it, as JSON values; None: those that the learner ran with.
        optimizer: Its optimiser, whose state is stored too, so that training can go on from this version.
        also: Other forms to store, such as ``"onnx"``.
        tags: Names and values to find it by.
    """

    model: Any
    metrics: Mapping[str, float] | None = None
    args: Mapping[str, Any] | None = None
    optimizer: Any = None
    also: str | Sequence[str] = ()
    tags: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Stage:
    """A function of a script, and what it is for; abstract."""

    function: Callable[..., Any]
    kind: ClassVar[Literal["wrangle", "learn", "infer"]]
    positional: ClassVar[int] = 1
    """Arguments that the framework gives; the others come from the settings."""

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__


@dataclass(frozen=True)
class Wrangler(Stage):
    """Yields records that are put into a collection."""

    kind = "wrangle"
    into: str
    key: str | Sequence[str] | None = None
    on_conflict: Literal["keep", "replace", "error"] = "keep"
    schema: Mapping[str, Any] | type | None = None


@dataclass(frozen=True)
class Learner(Stage):
    """Trains a model on a feed, or one for each entity or combination of arguments."""

    kind = "learn"
    feed: Feed
    model: str
    alias: str | None = None
    build: Callable[..., Any] | None = None
    parent: str | None = None
    since: Any = None
    text: str | None = None
    entities: Entities | None = None
    grid: Mapping[str, tuple[Any, ...]] | None = None
    best: Best | None = None
    workers: int = 1
    gpus: float = 0.0


@dataclass(frozen=True)
class Predictor(Stage):
    """Writes what a stored model says about the rows of its feed."""

    kind = "infer"
    positional = 2
    model: str
    into: str
    part: Literal["train", "validation", "test"] | None = None
    build: Callable[..., Any] | None = None


def wrangler(
    *,
    into: str,
    key: str | Sequence[str] | None = None,
    on_conflict: Literal["keep", "replace", "error"] = "keep",
    schema: Mapping[str, Any] | type | None = None,
) -> Callable[[Function], Function]:
    """Declare ``function(run)`` as one that yields records (dictionaries or tables) for a collection.

    Args:
        into: Collection that the records go to.
        key: Fields that identify a row; then wrangling the same source again changes nothing.
        on_conflict: What happens to a row whose key is there already; see ``hub.put``.
        schema: Types by field; records that break it are rejected, the others stored.
    """
    check_put(into, key, on_conflict, schema)
    return lambda function: _declare(Wrangler(function, into, key, on_conflict, schema))


def learner(  # noqa: PLR0913 - each is a keyword of its own
    feed: Feed | str,
    *,
    model: str,
    promote: str | None = None,
    build: Callable[..., Any] | None = None,
    parent: str | None = None,
    since: str | float | tuple[str | float, str] | None = None,
    text: str | None = None,
    entities: str | Path | Sequence[Any] | Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    best: str | Best | None = None,
    workers: int = 1,
    gpus: float = 0.0,
) -> Callable[[Function], Function]:
    """Declare ``function(run, ...)`` as one that trains on a feed and returns or yields :class:`Trained`.

    Args:
        feed: The feed, or the name of a collection; ``run.feed`` in the function.
        model: Name that the model is stored under.
        promote: Alias that each new version is given, such as ``"champion"``.
        build: Function that makes the untrained model; its arguments are recorded with the version.
        parent: Version to go on from, with its scale: ``"@champion"`` of the same model (none yet: from the start),
            or another reference; ``run.parent`` in the function.
        since: Train on the newest rows alone, by event time: ``"7d"``, or a number where the time is one; see
            ``feed.since``. The field is that of the window or the split, or the second of ``("7d", "t")``.
        text: What the model is for, for its card.
        entities: One job, and one model ``name[entity]``, for each: a field (its distinct values), a list of values, a
            pipeline whose ``_id``s they are, or one of the latter two by field, ``{"site": [...]}``. The feed is
            narrowed to it, its parts and scale are its own, and ``{"$param": "entity"}`` in the pipeline is its value.
        grid: One job for each combination of arguments: ``{"hidden": [32, 64]}``.
        best: Of the versions that all of these jobs made (of each entity), the one with the best metric of this name is
            promoted to ``champion`` through the gate; :class:`Best` says more.
        workers: Processes that train one model together.
        gpus: GPUs for each of them.

    Raises:
        ScriptError: An argument does not fit, or contradicts another.
    """
    spec = Feed(feed) if isinstance(feed, str) else feed
    if not isinstance(spec, Feed):
        raise ScriptError(
            f"@nm.learner: {feed!r} is not a feed", 'Write @nm.learner(nm.Feed("digits", ...), model=...).'
        )
    Reference.parse_target(model)
    if promote is not None:
        check_alias(promote)
    if parent is not None:
        Reference.parse(model + parent if parent.startswith("@") else parent)
    _check_build("learner", build)
    many = None if entities is None else entities_of(entities, spec)
    combined = None if grid is None else check_grid(grid)
    chosen = Best(best) if isinstance(best, str) else best
    check_resources(workers, gpus)

    def declare(function: Function) -> Function:
        stage = Learner(
            function, spec, model, promote, build, parent, since, text, many, combined, chosen, workers, gpus
        )
        declared = _declare(stage)
        check_learner(stage)
        return cast("Function", declared)

    return declare


def predictor(
    model: str,
    *,
    into: str,
    part: Literal["train", "validation", "test"] | None = None,
    build: Callable[..., Any] | None = None,
) -> PredictorOf:
    """Declare ``function(run, batch)`` as one that predicts with a stored model, which brings its feed.

    Without a function (``plain = nm.predictor("air@champion", into="air-predictions")`` in a script) the model's
    plain output is stored, as ``output``.

    The function returns named arrays, one element per row. A row of ``into`` holds them with ``job`` (the
    function), ``source`` (the ``_id`` of the row predicted on) and ``model`` (the version that did it).

    Args:
        model: Reference of the model, such as ``"digits-cnn@champion"``; ``"air[*]@champion"``: one job for each
            entity that has such a version, each on the rows of its own.
        into: Collection that the predictions go to; one per function and source row, replaced by a later run.
        part: Part of the feed's split to predict on; None: all rows.
        build: Function that makes the untrained model, for frameworks whose weights need one.
    """
    Reference.parse(model)
    check_put(into)
    _check_build("predictor", build)
    if part not in (None, *PARTS):
        raise ScriptError(f"@nm.predictor: part={part!r}", f"One of {', '.join(PARTS)}; none: all rows.")
    return PredictorOf(model, into, part, build)


@dataclass(frozen=True)
class PredictorOf:
    """What :func:`predictor` gives: a decorator, and by itself a predictor of the plain output."""

    model: str
    into: str
    part: Literal["train", "validation", "test"] | None
    build: Callable[..., Any] | None

    def __call__(self, function: Function) -> Function:
        """Declare a function."""
        return cast("Function", _declare(Predictor(function, self.model, self.into, self.part, self.build)))

    def plain(self, name: str) -> Predictor:
        """The predictor of the model's plain output, under the name that a script gives it."""

        def function(run: Any, batch: Any) -> dict[str, Any]:
            return {"output": run.predict(batch)}

        function.__name__ = name
        return Predictor(function, self.model, self.into, self.part, self.build)


def _check_build(decorator: str, build: object) -> None:
    if build is not None and not callable(build):
        raise ScriptError(f"@nm.{decorator}: build={build!r} is no function", "Give the function that makes the model.")


def _declare(stage: Stage) -> Any:
    if not inspect.isfunction(stage.function):
        raise ScriptError(
            f"{stage.function!r} cannot be a stage", f"Decorate a function that takes run to {stage.kind}."
        )
    declared = _declared.get()
    if declared is not None:
        declared.append((stage, _declaring_module()))
    setattr(stage.function, _NOTE, stage)
    return stage.function


def _declaring_module() -> dict[str, Any] | None:
    """The names of the module whose file is being run: of a script, or of one that it imports."""
    frame = inspect.currentframe()
    while frame is not None and (frame.f_code.co_name != "<module>"):
        frame = frame.f_back
    return None if frame is None else frame.f_globals


def stage_of(function: Callable[..., Any]) -> Stage:
    """What a decorated function was declared as.

    Raises:
        ScriptError: It was not decorated.
    """
    stage = getattr(function, _NOTE, None)
    if not isinstance(stage, Stage):
        raise ScriptError(f"{function!r} is no stage", "Decorate it with nm.wrangler, nm.learner or nm.predictor.")
    return stage


@contextmanager
def collecting() -> Iterator[list[tuple[Stage, Any]]]:
    """Note the stages that are declared meanwhile, in order, each with the names of the module that is being run."""
    stages: list[tuple[Stage, Any]] = []
    token = _declared.set(stages)
    try:
        yield stages
    finally:
        _declared.reset(token)

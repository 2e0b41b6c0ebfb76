"""Fleets: many small models of one architecture, one for each entity, trained at once in one process."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from nemesyst.errors import ModelError, ScriptError
from nemesyst.feed import Feed
from nemesyst.models import Reference, check_alias
from nemesyst.stages.arguments import arguments_of
from nemesyst.stages.checking import check_resources
from nemesyst.stages.context import Run
from nemesyst.stages.declare import Learner
from nemesyst.stages.entities import Entities, entities_of
from nemesyst.stages.fleets.feed import check_feed
from nemesyst.stages.grid import check_arguments
from nemesyst.stages.seams import JobContext

if TYPE_CHECKING:
    from pathlib import Path

    from nemesyst.hub import Hub
    from nemesyst.stages.fleets.training import FleetReport

OWN = ("epochs", "learning_rate", "patience", "again")
"""Arguments of a fleet beside those of its build function."""


@dataclass(frozen=True)
class Fleet:
    """What :func:`fleet` gives.

    Attributes:
        build: Makes an untrained model.
        entities: Which there are.
        feed: The feed of all.
        model: Name that the models are stored under.
        defaults: Arguments that are not given otherwise: those of ``OWN``, and of the build function.
        loss: See :func:`fleet`.
        optimizer: Its name, and its options.
        metrics: By name.
        alias: Alias that each new version is given.
        text: What the models are for.
        group: Entities that are read at once.
        gpus: GPUs of the job.
    """

    build: Callable[..., Any]
    entities: Entities
    feed: Feed
    model: str
    defaults: Mapping[str, Any]
    loss: str | Callable[..., Any] = "mse"
    optimizer: tuple[str, Mapping[str, Any]] = ("adam", field(default_factory=dict))
    metrics: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    alias: str | None = None
    text: str | None = None
    group: int = 256
    gpus: float = 0.0

    def plain(self, name: str) -> FleetStage:
        """The stage that trains it, under the name that a script gives it."""
        return FleetStage(_function(self, name), self.feed, self.model, build=self.build, gpus=self.gpus, fleet=self)

    def train(self, hub: Hub, **arguments: Any) -> FleetReport:
        """Train and store all of the models, in this process.

        Args:
            hub: The hub.
            arguments: ``epochs``, ``learning_rate``, ``patience``; ``again=True`` trains models anew whose rows, code
                and arguments are those of their latest version; and arguments of the build function.

        Raises:
            ScriptError: There is no such argument; the feed cannot be read for many entities at once.
            ModelError: A layer that a fleet cannot train; names it.
            FeedError: There are no entities.
        """
        from nemesyst.stages.fleets.training import train

        stage = self.plain(Reference.parse_target(self.model).name)
        check_arguments(stage.function, arguments, "fleet")
        return train(Run(hub, args=arguments_of(stage, arguments), context=JobContext()), stage)


@dataclass(frozen=True)
class FleetStage(Learner):
    """Trains a fleet, as one job."""

    fleet: Fleet | None = None
    _NONE: ClassVar[dict[str, Any]] = {"workers": 1, "best": None, "entities": None, "parent": None, "since": None}

    def __post_init__(self) -> None:
        for name, none in self._NONE.items():
            if getattr(self, name) != none:
                raise ScriptError(
                    f"{self.name} is a fleet: {name}={getattr(self, name)!r:.80} does not go with it",
                    "Say entities= where the fleet is declared."
                    if name == "entities"
                    else "Leave it out, or declare a learner: @nm.learner(..., entities=...).",
                )


def fleet(  # noqa: PLR0913 - each is a keyword of its own
    build: Callable[..., Any],
    *,
    entities: str | Path | Sequence[Any] | Mapping[str, Any],
    feed: Feed,
    model: str,
    epochs: int = 5,
    learning_rate: float = 1e-3,
    loss: str | Callable[..., Any] = "mse",
    optimizer: str | Mapping[str, Any] = "adam",
    patience: int | None = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    promote: str | None = None,
    args: Mapping[str, Any] | None = None,
    text: str | None = None,
    group: int = 256,
    gpus: float = 0.0,
) -> Fleet:
    """Declare many small PyTorch models of one architecture, one for each entity, that are trained at once.

    In a script, ``air = nm.fleet(make_net, entities="site", feed=nm.Feed(...), model="air")`` is one job of the learn
    round; ``air.train(hub)`` trains here and now. Each entity has its own rows, parts, scale, order, loss and end, as
    if it was trained alone, and becomes a version ``air[entity]`` that loads like any other.

    Args:
        build: Makes an untrained ``torch.nn.Module``; of Linear, RNN, LSTM, GRU, Conv1d, LayerNorm, Dropout,
            activations, and modules of your own that are made of these.
        entities: As of :func:`nemesyst.learner`: a field, values, or a pipeline.
        feed: The feed of all entities, with inputs and targets; ``batch_size``, ``shuffle`` and ``seed`` are each
            entity's.
        model: Name that the models are stored under.
        epochs: Passes over each entity's rows.
        learning_rate: Step size of the optimiser.
        loss: ``"mse"``, ``"mae"``, ``"huber"``, ``"cross_entropy"``, or a function of outputs and targets (tensors)
            that gives their mean over rows, such as ``torch.nn.functional.smooth_l1_loss``.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``; with options ``{"name": "sgd", "momentum": 0.9}``.
        patience: Epochs without a better loss on an entity's validation part after which it stops; the best weights
            are kept. None: all epochs, and the last weights.
        metrics: Metrics of the validation part by name, in the targets' own units: ``{"mae": nm.mae}``.
        promote: Alias that each new version is given.
        args: Arguments of ``build``.
        text: What the models are for, for their cards.
        group: Entities whose rows are read at once and held in memory.
        gpus: GPUs for the job.

    Raises:
        ScriptError: An argument does not fit; the feed cannot be read for many entities at once.
        SettingsError: A loss or an optimiser that is not known.
    """
    if not callable(build):
        raise ScriptError(f"nm.fleet({build!r:.80}) is no function", "Give the function that makes a model.")
    if not isinstance(feed, Feed):
        raise ScriptError(f"nm.fleet: feed={feed!r:.80} is not a feed", 'Write feed=nm.Feed("telemetry", ...).')
    if Reference.parse_target(model).entity is not None:
        raise ScriptError(f"nm.fleet: model={model!r} names an entity itself", "Give the name alone.")
    if promote is not None:
        check_alias(promote)
    if isinstance(group, bool) or not isinstance(group, int) or group < 1:
        raise ScriptError(f"nm.fleet: group={group!r}", "Give how many entities are read at once, 1 or more.")
    check_resources(1, gpus)
    many = entities_of(entities, feed)
    check_feed(feed, many.field)
    chosen = {"name": optimizer} if isinstance(optimizer, str) else dict(optimizer)
    if not isinstance(chosen.get("name"), str):
        raise ScriptError(f"nm.fleet: optimizer={optimizer!r:.80}", 'Write "adam", or {"name": "adam", "eps": 1e-6}.')
    own = {"epochs": epochs, "learning_rate": learning_rate, "patience": patience, "again": False}
    made = Fleet(
        build, many, feed, model, {**dict(args or {}), **own}, loss, (chosen.pop("name"), chosen),
        _metrics(metrics), promote, text, group, gpus,
    )  # fmt: skip
    _check_args(build, args)
    return made


def _metrics(given: Any) -> dict[str, Callable[..., Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(callable(each) for each in given.values()):
        raise ScriptError(f"nm.fleet: metrics={given!r:.80}", 'Functions by name: metrics={"mae": nm.mae}.')
    return dict(given)


def _parameters(build: Callable[..., Any]) -> list[inspect.Parameter]:
    """Those of the build function, with their types."""
    try:
        found = list(inspect.signature(build).parameters.values())
    except (TypeError, ValueError):
        return []
    try:
        hints = typing.get_type_hints(build)
    except (TypeError, NameError, AttributeError):
        hints = {}
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    return [each.replace(annotation=hints.get(each.name, each.annotation)) for each in found if each.kind not in kinds]


def _check_args(build: Callable[..., Any], args: Mapping[str, Any] | None) -> None:
    known = {each.name for each in _parameters(build)}
    for name in OWN:
        if name in known:
            raise ScriptError(
                f"nm.fleet: {getattr(build, '__name__', build)} takes {name}, which is an argument of the fleet",
                "Call it otherwise.",
            )
    check_arguments(_function_of(build), args or {}, "nm.fleet: args")


def _function_of(build: Callable[..., Any]) -> Any:
    """The build function behind a first argument, as the framework's functions have one."""

    def function(run: Any) -> None: ...

    function.__name__ = getattr(build, "__name__", "build")
    first = inspect.Parameter("run", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in _parameters(build)]
    function.__signature__ = inspect.Signature([first, *own])  # type: ignore[attr-defined]
    return function


def _function(made: Fleet, name: str) -> Callable[..., Any]:
    """A function whose signature says which arguments the settings may give."""

    def function(run: Run, **_: Any) -> FleetReport:
        from nemesyst.stages.fleets.training import train

        return train(run, made.plain(name))

    only = inspect.Parameter.KEYWORD_ONLY
    kinds: dict[str, Any] = {"epochs": int, "learning_rate": float, "patience": int | None, "again": bool}
    parameters = [
        *(inspect.Parameter(each, only, annotation=kind) for each, kind in kinds.items()),
        *(each.replace(kind=only) for each in _parameters(made.build)),
    ]
    given = [each.replace(default=made.defaults.get(each.name, each.default)) for each in parameters]
    function.__name__ = function.__qualname__ = name
    function.__annotations__ = {e.name: e.annotation for e in given if e.annotation is not inspect.Parameter.empty}
    first = inspect.Parameter("run", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    function.__signature__ = inspect.Signature([first, *given])  # type: ignore[attr-defined]
    return function


def batched() -> Any:
    """What trains; it needs PyTorch.

    Raises:
        ModelError: It is not installed.
    """
    try:
        import torch  # noqa: F401 - to tell that it is there

        from nemesyst import frameworks
    except ImportError:
        raise ModelError(
            "a fleet trains modules of PyTorch, which is not installed", 'pip install "nemesyst[torch]"'
        ) from None
    return frameworks

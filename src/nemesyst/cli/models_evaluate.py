"""``nemesyst models evaluate``, ``promote`` and ``card``: compare versions, and promote the better one."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nemesyst.cli.command import Session, command
from nemesyst.errors import ScriptError, SettingsError, nearest

if TYPE_CHECKING:
    from nemesyst.feed import BoundFeed
    from nemesyst.hub import Hub

_ON = "Rows to compare on: a collection, or a JSON file with a feed; default: the feed that the first REF learned from."
_BASELINE = "What needs no model: persistence, seasonal:N (N steps before) or mean."

Ref = Annotated[str, typer.Argument(metavar="REF", help="Such as air@3, air@champion or 'air[site12]@latest'.")]
Refs = Annotated[list[str], typer.Argument(metavar="REF...", help="Such as air@3 air@champion.")]
On = Annotated[str | None, typer.Option(help=_ON, metavar="COLLECTION|FILE")]
Part = Annotated[str, typer.Option(help="Part of the split: test, validation, train, or all.")]
AsOf = Annotated[str | None, typer.Option(help="The rows of that moment.", metavar="TIME")]
Script = Annotated[Path | None, typer.Option(help="Python file with the functions that make untrained models.")]
Build = Annotated[str | None, typer.Option(help="Which of them; default: registered ones, those of its learners.")]
Trust = Annotated[list[str] | None, typer.Option(help="Type to allow in a stored model.", metavar="TYPE")]
Device = Annotated[str | None, typer.Option(help="Where models predict, such as gpu.")]
Metrics = Annotated[list[str] | None, typer.Option(help="mae, rmse, r2, pinball(0.9), accuracy, ...; default: mae.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "evaluate")(evaluate)
    command(app, "promote")(promote)
    command(app, "card")(card)


def evaluate(  # noqa: PLR0913, PLR0917 - the options of the command
    session: Session,
    refs: Refs,
    on: On = None,
    part: Part = "test",
    metric: Metrics = None,
    baseline: Annotated[list[str] | None, typer.Option(help=_BASELINE)] = None,
    script: Script = None,
    build: Build = None,
    trust: Trust = None,
    device: Device = None,
    as_of: AsOf = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Compute known results again.")] = False,
) -> None:
    """Compare versions over the same rows, each with its own inputs, window and scale."""
    builds = builds_of(script, build)
    with session.connect(create=False) as hub:
        feed = part_of(rows_of(hub, refs[0], on, as_of), part)
        found = hub.models.evaluate(
            refs,
            feed,
            metric or ["mae"],
            baselines=baseline or (),
            build=builds,
            trust=trust or (),
            device=device,
            refresh=refresh,
        )
    session.result([row.as_dict() for row in found], str(found))


def promote(  # noqa: PLR0913, PLR0917 - the options of the command
    session: Session,
    ref: Ref,
    alias: Annotated[str, typer.Argument(metavar="ALIAS", help="Such as champion.")],
    metric: Annotated[str | None, typer.Option(help="Only if it is better by this metric, such as mae.")] = None,
    over: Annotated[str | None, typer.Option(help="What it must beat; default: what the alias means.")] = None,
    on: On = None,
    part: Part = "test",
    margin: Annotated[float, typer.Option(help="By how much it must be better, in the metric's unit.")] = 0.0,
    confidence: Annotated[float, typer.Option(help="Of the interval; 0: compare the values alone.")] = 0.95,
    min_samples: Annotated[int, typer.Option(help="Samples that are needed.")] = 100,
    script: Script = None,
    build: Build = None,
    trust: Trust = None,
    device: Device = None,
    as_of: AsOf = None,
    why: Annotated[str | None, typer.Option(help="Reason, for the history.")] = None,
) -> None:
    """Let an alias mean this version from now on; with --metric only if it is better on the same rows."""
    builds = builds_of(script, build)
    with session.connect(create=False) as hub:
        if metric is None:
            if over is not None or on is not None:
                raise SettingsError("--over or --on without --metric", "Say by what to compare, such as --metric mae.")
            version = hub.models.promote(ref, alias, why=why)
        else:
            version = hub.models.promote(
                ref,
                alias,
                over=over,
                on=part_of(rows_of(hub, ref, on, as_of), part),
                metric=metric,
                margin=margin,
                confidence=confidence or None,
                min_samples=min_samples,
                build=builds,
                trust=trust or (),
                device=device,
                why=why,
            )
    session.result({"ref": version.ref, **asdict(version)}, f"{version.path}@{alias} is now version {version.number}")


def card(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name (its champion, or else its latest) or REF.")],
    output: Annotated[Path | None, typer.Option(help="The file; default: <name>.html.", metavar="FILE")] = None,
) -> None:
    """Write a model card: one HTML file with results, pictures, data, lineage and limits."""
    file = output or Path(f"{name.replace('/', '-')}.html")
    with session.connect(create=False) as hub:
        text = hub.models.card(name)
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"--output {file}: {error.strerror}", "Name a file in a folder that you may write to."
        ) from None
    session.result({"file": str(file), "bytes": len(text.encode())}, f"{file}")


def rows_of(hub: Hub, ref: str, on: str | None, as_of: str | None) -> BoundFeed:
    """The rows to compare on, bound.

    Raises:
        SettingsError: ``on`` is a file that holds no feed; the version has none of its own.
    """
    if on is not None and (on.endswith(".json") or Path(on).is_file()):
        return hub.feed(_read(Path(on)), as_of=as_of)
    version = hub.models.get(ref)
    if version.feed is None:
        raise SettingsError(
            f"{version.ref} was saved without a feed", "Say on which rows: --on a JSON file with a feed."
        )
    own = {name: value for name, value in version.feed.items() if name not in ("prepared", "scale", "weight", "map")}
    return hub.feed({**own, **({} if on is None else {"collection": on})}, as_of=as_of)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--on {file}: {error.strerror}", "Name a collection, or a file that is there.") from None
    except ValueError as error:
        raise SettingsError(f"--on {file} is no JSON: {error}", "Correct it.") from None
    if not isinstance(values, dict) or "collection" not in values:
        raise SettingsError(
            f"--on {file} holds no feed", 'Such as {"collection": "telemetry", "split": {"test": 0.1}}.'
        )
    return values


def part_of(feed: BoundFeed, part: str) -> BoundFeed:
    """A part of a feed.

    Raises:
        SettingsError: It has no such part.
    """
    if part not in ("test", "validation", "train", "all"):
        raise SettingsError(f"--part {part}", nearest(part, ["test", "validation", "train", "all"]))
    if part == "all":
        return feed
    if feed.spec.split is None:
        raise SettingsError(
            f"--part {part}: the feed of {feed.spec.collection} has no split",
            "Compare on a file with a feed that has one (--on), or on all rows: --part all.",
        )
    found: BoundFeed = getattr(feed, part)
    return found


def builds_of(script: Path | None, name: str | None) -> Any:
    """The functions that make untrained models, by model; or the one that is named.

    Runs the script, which registers its architectures.

    Raises:
        ScriptError: The script fails, or has no such function.
    """
    if script is None:
        if name is not None:
            raise SettingsError(f"--build {name} without --script", "Name the file that it is in.")
        return None
    from nemesyst.stages import Learner, Predictor, run_script, stage_of

    names = run_script(script)
    if name is None:
        declared = [stage_of(each) for each in names.values() if hasattr(each, "__nemesyst__")]
        found = [each for each in declared if isinstance(each, Learner | Predictor) and each.build is not None]
        return {each.model.partition("@")[0].partition("[")[0]: each.build for each in found} or None
    if not callable(names.get(name)):
        known = [each for each, value in names.items() if callable(value) and not each.startswith("_")]
        raise ScriptError(
            f"{script} has no function {name!r}; {nearest(name, known)}", "Name one of them with --build."
        )
    return names[name]

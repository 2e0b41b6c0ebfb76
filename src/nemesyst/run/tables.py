"""Jobs as tables of ``nemesyst.toml``: ``[[jobs]]`` with script, function, arguments, feed, model and output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemesyst.database import check_put
from nemesyst.errors import NemesystError, SettingsError, nearest
from nemesyst.feed import load_pipeline
from nemesyst.models import Reference
from nemesyst.run.jobs import Job
from nemesyst.run.planning import Task
from nemesyst.stages import (
    Best,
    Changes,
    Learner,
    Predictor,
    Wrangler,
    changed_feed,
    check_arguments,
    check_grid,
    check_learner,
    check_predictor_feed,
    check_resources,
    entities_of,
    load_script,
    narrowing_field,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nemesyst.stages import Script, Stage

_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "script": ((str,), "the path of a Python file"),
    "function": ((str,), "the name of a function"),
    "name": ((str,), "a text"),
    "args": ((dict,), "a table"),
    "feed": ((str, dict), "a collection, or a table of a feed's fields"),
    "model": ((str,), "a model's name"),
    "output": ((str,), "a collection"),
    "entities": ((str, list, dict), "a field, a list, or a pipeline"),
    "grid": ((dict,), "a table of lists"),
    "best": ((str, dict), "a metric's name, or a table"),
    "workers": ((int,), "a whole number"),
    "gpus": ((int, float), "a number"),
    "timeout": ((int, float), "a number of seconds"),
    "retries": ((int,), "a whole number"),
}
_LEARNERS = ("entities", "grid", "best", "workers", "gpus")
_ONE = ("args", "feed", "model", "output", *_LEARNERS)
"""Keys that are about one function."""


def tasks_of_tables(
    tables: Sequence[Mapping[str, Any]], file: Path, load: Callable[[Path], Script] = load_script
) -> list[Task]:
    """What the tables ask for.

    Args:
        tables: They.
        file: Where they stand; paths are relative to it.
        load: Loads a script, once for each file.

    Raises:
        NemesystError: A key, a function, an argument or a field does not fit; names the file, the table and the key.
    """
    scripts: dict[Path, Script] = {}
    tasks: list[Task] = []
    for number, table in enumerate(tables, 1):
        where = f"{file}, [[jobs]] {number}"
        with _told(where):
            _check_keys(table)
            path = file.parent / table["script"]
            if path not in scripts:
                scripts[path] = load(path)
            chosen = _chosen(table, scripts[path])
            tasks += [replace(_task(table, path, stage, file), where=where) for stage in chosen]
    return _distinct(tasks)


def _check_keys(table: Mapping[str, Any]) -> None:
    for name, value in table.items():
        if name not in _TYPES:
            raise SettingsError(f"there is no key {name!r}", nearest(name, list(_TYPES)))
        kinds, what = _TYPES[name]
        if not isinstance(value, kinds) or (isinstance(value, bool)):
            raise SettingsError(f"{name} = {value!r:.80}", f"Expected {what}.")
    if "script" not in table:
        raise SettingsError("the key script is missing", 'Write script = "train.py".')
    if table.get("timeout", 1) <= 0:
        raise SettingsError(f"timeout = {table['timeout']!r}", "Give seconds, more than 0.")
    if table.get("retries", 0) < 0:
        raise SettingsError(f"retries = {table['retries']!r}", "Give a whole number, 0 or more.")


def _chosen(table: Mapping[str, Any], script: Script) -> list[Stage]:
    names = [stage.name for stage in script.stages]
    if "function" in table:
        if table["function"] not in names:
            raise SettingsError(
                f"function = {table['function']!r}: {script.path} has no such stage", nearest(table["function"], names)
            )
        return [script.stage(table["function"])]
    about_one = [key for key in _ONE if key in table]
    if about_one and len(names) > 1:
        raise SettingsError(
            f"{about_one[0]} is given, and {script.path} has several stages",
            f"Say function = one of {', '.join(names)}.",
        )
    return list(script.stages)


def _task(table: Mapping[str, Any], path: Path, stage: Stage, file: Path) -> Task:
    for key in (*_LEARNERS, "feed", "model", "output"):
        if key in table:
            _check_meant(key, stage)
    check_arguments(stage.function, table.get("args", {}), "args")
    changes = Changes(_feed(table.get("feed"), file), table.get("model"), table.get("output"))
    if "output" in table:
        check_put(table["output"])
    if isinstance(stage, Learner):
        stage = _learner(table, stage, changes)
        if stage.entities is not None and "entities" in table:
            changes = replace(changes, by=narrowing_field(stage.entities, stage.feed))
    elif isinstance(stage, Predictor):
        stage = _predictor(stage, changes)
    job = Job(
        path,
        stage.name,
        stage.kind,
        table.get("name", ""),
        args=table.get("args", {}),
        changes=changes,
        workers=getattr(stage, "workers", 1),
        gpus=getattr(stage, "gpus", 0.0),
        timeout=table.get("timeout"),
        retries=table.get("retries", 0),
    )
    return Task(job, stage)


def _learner(table: Mapping[str, Any], stage: Learner, changes: Changes) -> Learner:
    """The learner as it would be declared with what the table says; its feed stays, as the job changes it."""
    feed = changed_feed(stage.feed, changes.feed)
    if changes.model is not None:
        Reference.parse_target(changes.model)
    made: dict[str, Any] = {name: table[name] for name in ("workers", "gpus") if name in table}
    check_resources(made.get("workers", 1), made.get("gpus", 0.0))
    if "entities" in table:
        made["entities"] = entities_of(table["entities"], feed)
    if "grid" in table:
        made["grid"] = check_grid(table["grid"]) if table["grid"] else None
        for name in table["grid"]:
            if name in table.get("args", {}):
                raise SettingsError(f"the argument {name} stands in args and in grid", "Leave it out of one of them.")
    elif stage.grid is not None:  # what args say is no longer varied
        made["grid"] = {
            name: values for name, values in stage.grid.items() if name not in table.get("args", {})
        } or None
    if "best" in table:
        made["best"] = _best(table["best"])
    check_learner(replace(stage, feed=feed, model=changes.model or stage.model, **made))
    return replace(stage, **made)


def _best(given: Any) -> Best:
    if isinstance(given, str):
        return Best(given)
    for name in given:
        if name not in Best.__dataclass_fields__:
            raise SettingsError(f"best: there is no {name!r}", nearest(str(name), list(Best.__dataclass_fields__)))
    if "metric" not in given:
        raise SettingsError("best: the metric is missing", 'Write best = { metric = "mae" }.')
    return Best(**given)


def _predictor(stage: Predictor, changes: Changes) -> Predictor:
    if changes.model is not None:
        Reference.parse(changes.model)
        stage = replace(stage, model=changes.model)
    if changes.feed is not None:
        check_predictor_feed(changes.feed)
    return stage


def _feed(given: Any, file: Path) -> Any:
    """The changes of a feed, with a pipeline's file read now: paths are relative to the settings file."""
    if not isinstance(given, Mapping) or not isinstance(given.get("pipeline"), str):
        return given
    return {**given, "pipeline": list(load_pipeline(file.parent / given["pipeline"]))}


def _check_meant(key: str, stage: Stage) -> None:
    """Refuse a key that a stage of this kind has no use for."""
    if key in _LEARNERS and not isinstance(stage, Learner):
        hint = 'Write model = "air[*]@champion".' if key == "entities" and isinstance(stage, Predictor) else None
        raise SettingsError(f"{key} is for learners, and {stage.name} is to {stage.kind}", hint)
    if key in ("feed", "model") and isinstance(stage, Wrangler):
        raise SettingsError(f"{key}: {stage.name} is a wrangler, which has none", "Give it output, or args.")
    if key == "output" and isinstance(stage, Learner):
        raise SettingsError(f"output: {stage.name} is a learner, which stores a model", "Give it model.")


def _distinct(tasks: list[Task]) -> list[Task]:
    """The tasks with labels that tell them apart.

    Raises:
        SettingsError: Two have the same name, or would replace each other's predictions.
    """
    count = Counter((task.job.script, task.job.name, task.job.label) for task in tasks)
    seen: dict[tuple[Any, ...], Task] = {}
    found: list[Task] = []
    for task in tasks:
        job = task.job
        if count[job.script, job.name, job.label] > 1:
            if job.label:
                raise SettingsError(f"{task.where}: a second job named {job.label!r}", "Give each its own name.")
            job = replace(job, label=f"#{task.where.rsplit(' ', 1)[-1]}")
        if isinstance(task.stage, Predictor):
            key = (job.name, job.changes.into or task.stage.into)
            if key in seen:
                raise SettingsError(
                    f"{task.where}: {job.name} predicts into {key[1]}, and so does {seen[key].where}: they would "
                    "replace each other's predictions",
                    "Give each its own output.",
                )
            seen[key] = task
        found.append(replace(task, job=job))
    return found


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except NemesystError as error:
        raise type(error)(f"{where}: {error.message}", error.remedy) from None

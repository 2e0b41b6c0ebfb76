"""Runs for those who have TensorBoard or MLflow: parameters, curves with steps and times, how it ended."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from nemesyst.run import RunRecord, Series

    Points = Iterable[tuple[str, Series]]

_SUFFIX = ".nemesyst"
_STATUS = {"running": "RUNNING", "done": "FINISHED", "stopped": "KILLED", "failed": "FAILED", "lost": "FAILED"}
_BATCH = 1000
_TEXT = 500
_MARK = "nemesyst.run"


def to_tensorboard(folder: Path, record: RunRecord, points: Points) -> Path:
    """Write a run into a folder of TensorBoard's, under its id; what was written for it before is replaced.

    Raises:
        SettingsError: tensorboardX is not installed, or the folder cannot be written.
    """
    try:
        from tensorboardX import SummaryWriter  # type: ignore[import-untyped]
        from tensorboardX.summary import hparams  # type: ignore[import-untyped]
    except ImportError:
        raise SettingsError(
            "--tensorboard needs tensorboardX, which is not installed",
            "Install it: pip install 'nemesyst[tensorboard]'.",
        ) from None
    target = folder / record.id
    try:
        for old in target.glob(f"events.out.tfevents.*{_SUFFIX}"):
            old.unlink()
        with SummaryWriter(str(target), filename_suffix=_SUFFIX) as writer:
            begun = None if record.started is None else record.started.timestamp()
            facts = "".join(f"| {name} | {value} |\n" for name, value in _facts(record).items())
            writer.add_text("run", f"| | |\n|---|---|\n{facts}", 0, begun)
            arguments = {name: _argument(value) for name, value in record.work.args.items()}
            for part in hparams(arguments, dict(record.values)):
                writer.file_writer.add_summary(part, walltime=begun)
            for name, series in points:
                for step, time, value in zip(series.steps, series.times, series.values, strict=True):
                    writer.add_scalar(name, float(value), int(step), float(time))
    except OSError as error:
        raise SettingsError(f"--tensorboard {folder} cannot be written: {error}", "Check the folder.") from None
    return target


def to_mlflow(uri: str, record: RunRecord, points: Points) -> str:
    """Log a run to an MLflow server or folder, in the experiment of its model; an earlier export of it is removed.

    Returns:
        The id that MLflow gave it.

    Raises:
        SettingsError: mlflow-skinny is not installed, or MLflow refuses.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would tell its makers that it is used
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # who names a folder wants one
    try:
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError:
        raise SettingsError(
            "--mlflow needs mlflow-skinny, which is not installed", "Install it: pip install 'nemesyst[mlflow]'."
        ) from None
    try:
        return _logged(MlflowClient(tracking_uri=uri), record, points)
    except (MlflowException, OSError) as error:
        text = str(error).splitlines()[0][:_TEXT]
        raise SettingsError(f"--mlflow {uri}: MLflow refuses: {text}", "Check the address and its rights.") from None


def _logged(client: Any, record: RunRecord, points: Points) -> str:
    from mlflow.entities import Metric, Param

    experiment = _experiment(client, _name(record.work.model or record.work.function))
    for old in client.search_runs([experiment], f"tags.`{_MARK}` = '{record.id}'"):
        client.delete_run(old.info.run_id)
    tags = {_MARK: record.id, **{f"nemesyst.{name}": str(value) for name, value in _facts(record).items()}}
    begun = None if record.started is None else int(record.started.timestamp() * 1000)
    label = f"{record.work.function} {record.work.label}".strip()
    made: str = client.create_run(experiment, begun, tags, f"{label} {record.id}").info.run_id
    arguments = [Param(_name(name), str(value)[:_TEXT]) for name, value in record.work.args.items()]
    for first in range(0, len(arguments), 100):
        client.log_batch(made, params=arguments[first : first + 100])
    batch: list[Any] = []
    for name, series in points:
        for step, time, value in zip(series.steps, series.times, series.values, strict=True):
            batch.append(Metric(_name(name), float(value), int(time * 1000), int(step)))
            if len(batch) == _BATCH:
                client.log_batch(made, batch)
                batch = []
    if batch:
        client.log_batch(made, batch)
    if record.status != "running":
        ended = record.ended or record.heartbeat
        client.set_terminated(made, _STATUS[record.status], None if ended is None else int(ended.timestamp() * 1000))
    return made


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    made: str = client.create_experiment(name) if found is None else found.experiment_id
    return made


def _facts(record: RunRecord) -> Mapping[str, Any]:
    """What a run's tags say."""
    work = record.work
    facts = {
        "status": record.status,
        "stage": work.stage,
        "function": work.function,
        "script": work.script,
        "model": work.model,
        "entity": work.entity,
        "versions": ", ".join(record.versions),
        "node": record.process.node,
        "executor": record.executor,
        "command": record.command,
        "workers": work.workers,
        "attempts": record.attempts,
        "error": (record.error or {}).get("message"),
    }
    return {name: value for name, value in facts.items() if value not in (None, "")}


def _argument(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _name(text: str) -> str:
    """A name that MLflow takes."""
    return re.sub(r"[^\w\-. /:]", "_", text)[:200]

"""Data parallelism on a Ray cluster: Ray Train starts the workers of a job, side by side in a placement group."""

from __future__ import annotations

import os
import selectors
import shutil
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nemesyst.run.describing import job_of
from nemesyst.run.local.process import LocalProcess
from nemesyst.run.parallel.ranks import Ranks
from nemesyst.run.ray.events import Bell, Collected, Words, told_by
from nemesyst.run.signals import INTERRUPTED
from nemesyst.run.wire import to_descriptor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemesyst.run.jobs import Job
    from nemesyst.run.ray.events import Event
    from nemesyst.run.ray.place import Place

_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",  # how soon an end is seen
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "86400",  # how long it waits for room is the round's business
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # what is printed is taken by us
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
_HEAR = 0.5


def train_job(
    description: Mapping[str, Any], environment: Mapping[str, str], board: Any, ticket: str, place: Place
) -> Iterator[list[Event]]:
    """Do a job by workers that Ray Train starts, as a task of Ray that only waits; see ``ray_task.do_job``."""
    selector, collected = selectors.DefaultSelector(), Collected()
    job = job_of(description)
    process = LocalProcess(job, collected, selector, lambda _: None)
    bell = Bell(selector, lambda end: process.finish(*end))
    training = _Training(job, environment, board, ticket, place)
    training.begin(description, process, bell)
    yield from told_by(process, collected, selector)
    bell.close()


class _Training:
    """One training; a thread of its own attends to it, and another waits for its end."""

    def __init__(self, job: Job, environment: Mapping[str, str], board: Any, ticket: str, place: Place) -> None:
        self._job, self._environment = job, dict(environment)
        self._board, self._ticket, self._place = board, ticket, place
        self._error: BaseException | None = None
        self._memory, self._heard, self._interrupted = 0, False, False

    def begin(self, description: Mapping[str, Any], process: LocalProcess, bell: Bell) -> None:
        """Start both."""
        import ray

        ray.get(self._board.keep.remote(self._ticket, description))
        fit = threading.Thread(target=self._fit, daemon=True)
        fit.start()
        threading.Thread(target=self._attend, args=(fit, process, bell), daemon=True).start()

    def _fit(self) -> None:
        os.environ.update(_SETTINGS)
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        from nemesyst.run.ray.rank import work_as_rank

        folder = tempfile.mkdtemp(prefix="nemesyst-train-")
        each = {"CPU": 1.0, **({"GPU": self._job.gpus} if self._job.gpus else {})}
        told = {"ticket": self._ticket, "board": self._board, "environment": self._environment, "place": self._place}
        try:
            TorchTrainer(
                work_as_rank,
                train_loop_config=told,
                torch_config=TorchConfig(backend="nccl" if self._job.gpus else "gloo"),
                scaling_config=ScalingConfig(
                    num_workers=self._job.workers, use_gpu=bool(self._job.gpus), resources_per_worker=each
                ),
                # Nothing is kept there: checkpoints go to the database.
                run_config=RunConfig(name=self._ticket, storage_path=folder, failure_config=FailureConfig(0)),
            ).fit()
        except BaseException as error:  # noqa: BLE001 - what the ranks have told says more
            self._error = error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _attend(self, fit: threading.Thread, process: LocalProcess, bell: Bell) -> None:
        """Pass on what the ranks tell, as that of one process, until all is over."""
        import ray

        output, messages = (os.dup(descriptor) for descriptor in process.theirs)
        process.started()
        ranks, code = Ranks(self._job, to_descriptor(messages)), 1
        words = Words(self._board, self._ticket, self._heed)
        with suppress(Exception):  # the board is gone, and the command with it
            while True:
                alive = fit.is_alive()
                for rank, message in ray.get(self._board.hear.remote(self._ticket, _HEAR if alive else 0.0)):
                    self._take(rank, message, ranks, output)
                if not alive:
                    break
            if self._interrupted:
                ranks.tell_interrupted()
                code = INTERRUPTED
            elif self._error is not None and not self._heard:
                self._never_began(messages)
            else:
                code = ranks.tell_end({})
        words.end()
        os.close(output)
        os.close(messages)
        bell((code, self._memory or None))

    def _heed(self, word: str) -> None:
        self._interrupted |= word == "interrupt"  # each rank does so by itself

    def _take(self, rank: int, message: Mapping[str, Any], ranks: Ranks, output: int) -> None:
        if "output" in message:
            os.write(output, message["output"].encode() + b"\n")
        elif "memory" in message:
            self._memory = max(self._memory, message["memory"])
        else:
            self._heard = True
            ranks.take(rank, message)

    def _never_began(self, messages: int) -> None:
        first = (str(self._error).strip().splitlines() or [""])[0]
        told = {
            "kind": "JobError",
            "message": f"{self._job} ({self._job.script}): its workers could not be started, or died: "
            f"{type(self._error).__name__}: {first}",
            "remedy": "Look at Ray's logs; the machine may be out of memory.",
            "transient": True,
        }
        to_descriptor(messages)({"failed": told})

"""PyTorch's own launcher: one process per worker, each with its rank, none started again."""

from __future__ import annotations

import logging
import os
import re
import sys
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nemesyst.run.parallel.ranks import print_whole_lines
from nemesyst.run.signals import end_with_parent, take_signals
from nemesyst.run.worker import run_described

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection

    from nemesyst.run.parallel.ranks import Ranks

_GRACE = 8
"""How long workers may take to end when one has failed, in s: less than a round waits for a job."""

_LOST = re.compile(r"gloo|nccl|connection (closed|reset)|broken pipe|socket|store", re.IGNORECASE)
"""What the errors of those say that another worker has left."""


def launch(description: Mapping[str, Any], ranks: Ranks) -> dict[int, int]:
    """Run the workers to their end; exit codes of those that failed, as far as the launcher tells them."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.CRITICAL)  # this process only waits; what the launcher has to say, we say
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks.size,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="spawn",
        signals_to_handle="SIGHUP",  # the others are taken as every job takes them
        local_addr="127.0.0.1",
        shutdown_timeout=_GRACE,
    )
    with ranks:
        try:
            elastic_launch(config, work_as_rank)(dict(description), ranks.writers)
        except ChildFailedError as error:
            return {rank: failed.exitcode for rank, failed in error.failures.items()}
    return {}


def work_as_rank(description: Mapping[str, Any], writers: list[Connection]) -> None:
    """What each worker does."""
    end_with_parent()
    take_signals()
    print_whole_lines()
    rank = int(os.environ["RANK"])
    for other, writer in enumerate(writers):
        if other != rank:
            writer.close()

    def send(message: Mapping[str, Any]) -> None:
        if "failed" in message:
            told = message["failed"]
            message = {"failed": {**told, "lost": is_lost(told["message"])}}
        writers[rank].send(message)

    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all of them are on this machine
    from nemesyst.run.parallel.torch_group import TorchGroup

    code = run_described(description, send, lambda: TorchGroup.join(description["gpus"]))
    with suppress(Exception):  # the others may be gone
        TorchGroup.leave()
    if code:
        sys.exit(code)


def is_lost(message: str) -> bool:
    """Whether an error only says that another worker has left."""
    kinds = ("RuntimeError", "DistBackendError", "DistNetworkError", "DistStoreError")
    return any(f"{kind}: " in message for kind in kinds) and _LOST.search(message) is not None

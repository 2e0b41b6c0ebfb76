"""Starting the workers that train one model together, on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from nemesyst.errors import NemesystError, ScriptError
from nemesyst.run.describing import job_of
from nemesyst.run.parallel.choosing import framework_of
from nemesyst.run.parallel.ranks import Ranks
from nemesyst.run.signals import INTERRUPTED
from nemesyst.run.worker import failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def launch_workers(description: Mapping[str, Any], send: Callable[[Mapping[str, Any]], None]) -> int:
    """Have a job done by as many processes as it asks for, and pass on what they tell as that of one.

    If one of them dies, the others are ended at once, and its error is the job's.

    Returns:
        The exit code for this process, which only waits.
    """
    job = job_of(description)
    ranks = Ranks(job, send)
    try:
        framework = framework_of(job.script, job.name)
        if find_spec(framework) is None:
            raise ScriptError(f"{job.script} imports {framework}, which is not installed", "Install it.")
        if framework == "torch":
            from nemesyst.run.parallel.torch_launch import launch
        else:
            from nemesyst.run.parallel.jax_launch import launch
        codes = launch(description, ranks)
    except KeyboardInterrupt:
        ranks.tell_interrupted()
        return INTERRUPTED
    except NemesystError as error:
        send({"failed": failure(error, job.script)})
        return 1
    return ranks.tell_end(codes)

"""Training a version again from the rows and the code that it came from, and comparing the weights."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from blake3 import blake3

from nemesyst.database import Timestamp
from nemesyst.errors import MismatchError, NemesystError, ReplayError, ScriptError
from nemesyst.frameworks import adapter_for, adapter_named
from nemesyst.models import code_of, differences, environment
from nemesyst.stages.asked import context_of
from nemesyst.stages.context import Run
from nemesyst.stages.declare import Learner, Trained
from nemesyst.stages.fleets.fleet import FleetStage
from nemesyst.stages.learning import open_feed, trained_by
from nemesyst.stages.scripts import load_script, script_line
from nemesyst.stages.seams import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemesyst.feed import BoundFeed
    from nemesyst.frameworks import Adapter
    from nemesyst.hub import Hub
    from nemesyst.types import Version


@dataclass(frozen=True)
class Replay:
    """What came of a replay.

    Attributes:
        ref: The version.
        identical: Whether the weights are the same, bit for bit.
        difference: The largest difference between two weights, relative to the largest of their array.
        tolerance: What the adapter allows; 0 where it promises the same bits.
        differences: Where code and environment differ from those at save time, a line each.
        seconds: Time that the training took, in s.
    """

    ref: str
    identical: bool
    difference: float
    tolerance: float
    differences: tuple[str, ...]
    seconds: float

    @property
    def same(self) -> bool:
        """Whether the weights are the same, as far as the framework promises it."""
        return self.identical or self.difference <= self.tolerance

    def __str__(self) -> str:
        if self.identical:
            outcome = "the same weights, bit for bit"
        elif self.same:
            outcome = f"the same weights within {self.tolerance:g} (they differ by up to {self.difference:.3g})"
        else:
            outcome = (
                f"other weights: they differ by up to {self.difference:.3g} (at most {self.tolerance:g} is allowed)"
            )
        return "\n".join([f"{self.ref}: {outcome}", *(f"  differs: {line}" for line in self.differences)])


def replay(
    hub: Hub, ref: str, *, script: str | Path | None = None, anyway: bool = False, progress: Progress | None = None
) -> Replay:
    """Train a version again, after it was made sure that rows and code are the same, and compare the weights.

    Args:
        hub: The hub.
        ref: The version.
        script: The file with its learner; None: the path in its record.
        anyway: Whether to go on with other rows or other code, which are then named in the outcome.
        progress: Who is told how it goes.

    Raises:
        ReplayError: It was not trained by a script, or rows or code are others; names what differs.
    """
    version = hub.models.get(ref)
    learner = _recorded(version)
    path = Path(script or learner["script"])
    stage = _stage(version, path, str(learner["function"]))
    if isinstance(stage, FleetStage):
        return _of_fleet(hub, version, stage, path, progress or Silent(), anyway=anyway)
    differing = [*_code(learner, stage, path), *_workers(learner)]
    parent = None if version.parent is None else hub.models.get(version.parent)
    run = Run(hub, args=learner["args"], context=context_of(learner, path, progress or Silent()))
    open_feed(run, stage, as_of=Timestamp(*(version.lineage or {})["as_of"]), parent=parent)
    differing += _feed(version, run.feed) or _rows(version, run.feed)
    if differing and not anyway:
        raise ReplayError(
            f"{version.ref} cannot be replayed: {'; '.join(differing)}",
            "Check out the code of its record; rows that were pinned (feed.pin()) are kept. Or train anyway "
            "(anyway=True, --anyway), which compares all the same.",
        )
    begin = time.monotonic()
    number = int(learner.get("yielded", 0))
    with _same_threads(version.environment):
        for position, trained in enumerate(_told(trained_by(run, stage), path)):
            if position == number:
                changed = differences(version.environment, environment(adapter_named(version.framework)))
                return _compared(hub, version, trained, (*differing, *changed), time.monotonic() - begin)
    raise ReplayError(
        f"{version.ref} was model {number + 1} that {stage.name} yielded, and now it yields fewer", "See its code."
    )


def _of_fleet(hub: Hub, version: Version, stage: FleetStage, path: Path, progress: Progress, *, anyway: bool) -> Replay:
    """One model of a fleet, trained alone: the same within the tolerance of batched sums."""
    from nemesyst.stages.fleets.replay import TOLERANCE, again

    with _same_threads(version.environment):
        found = again(hub, version, stage, path, progress, anyway=anyway)
    identical = found.difference == 0
    return Replay(version.ref, identical, found.difference, TOLERANCE, found.differences, found.seconds)


def _told(results: Iterator[Trained], path: Path) -> Iterator[Trained]:
    """The results; what the function itself raises is told with its line."""
    try:
        yield from results
    except NemesystError:
        raise
    except Exception as error:  # noqa: BLE001 - the function is the user's: anything may come out of it
        where = script_line(error.__traceback__, path)
        raise ScriptError(f"{where}: {type(error).__name__}: {error!s:.500}", "Correct the script.") from None


def _recorded(version: Version) -> Mapping[str, Any]:
    learner = version.learner or {}
    lineage = version.lineage or {}
    told = [learner.get(name) for name in ("script", "function")] + [
        lineage.get(n) for n in ("as_of", "fingerprint", "rows")
    ]
    if not all(told) or not isinstance(learner.get("args"), dict):
        raise ReplayError(
            f"{version.ref} was not trained by a learner of a script on a feed with a cutoff, so its record does not "
            "say how to train it again",
            "Train with: nemesyst learn SCRIPT (on a replica set; one node is enough).",
        )
    return learner


def _stage(version: Version, path: Path, function: str) -> Learner:
    found = [stage for stage in load_script(path).stages if stage.name == function and isinstance(stage, Learner)]
    if not found:
        raise ReplayError(f"{path} has no learner {function}, which trained {version.ref}", "Give the script that has.")
    stage = found[0]
    assert isinstance(stage, Learner)  # noqa: S101 - chosen so
    return stage


def _code(learner: Mapping[str, Any], stage: Learner, path: Path) -> list[str]:
    differing = []
    if (now := code_of(stage.function, path)["source"]) != learner.get("source"):
        commit = (learner.get("git") or {}).get("commit")
        differing.append(
            f"the code of {stage.name} has changed (source {str(learner.get('source'))[:12]} then, {str(now)[:12]} now"
            + (f"; commit {commit[:12]} then)" if commit else ")")
        )
    return differing


def _workers(learner: Mapping[str, Any]) -> list[str]:
    """Whether several processes trained it: one has other batches, and sums in another order."""
    workers = learner.get("workers", 1)
    return [] if workers == 1 else [f"{workers} workers trained it together, and a replay has one"]


def _feed(version: Version, feed: BoundFeed) -> list[str]:
    """Whether the feed is another one."""
    then, now = (version.lineage or {})["fingerprint"], feed.spec.fingerprint
    return [] if then == now else [f"the feed has changed (fingerprint {then[:12]} then, {now[:12]} now)"]


def _rows(version: Version, feed: BoundFeed) -> list[str]:
    """What differs between the rows of then and those under the same cutoff now."""
    then, now = version.lineage or {}, feed.lineage()
    if then["digest"] == now["digest"]:
        return []
    old, new = then.get("digests") or [], now["digests"]
    chunks = sum(1 for n, digest in enumerate(old) if n >= len(new) or new[n] != digest)
    counts = [f"{part} {count:,} then, {now['rows'].get(part, 0):,} now" for part, count in then["rows"].items()]
    where = f"other digests in {chunks} of {len(old)} chunks"
    return [f"the rows of {feed.spec.collection} under its cutoff have changed ({'; '.join(counts)}; {where})"]


@contextmanager
def _same_threads(then: Mapping[str, Any]) -> Iterator[None]:
    """Use as many threads as then: with others, sums are rounded in another order."""
    torch, threads = sys.modules.get("torch"), then.get("threads")
    if torch is None or not isinstance(threads, int):
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compared(hub: Hub, version: Version, trained: Trained, differing: tuple[str, ...], seconds: float) -> Replay:
    adapter = adapter_for(trained.model)
    hasher = blake3()
    for piece in adapter.dump(trained.model):
        hasher.update(memoryview(piece).cast("B"))
    identical = hasher.hexdigest() == version.digest
    apart = 0.0 if identical else _apart(hub, version, adapter, trained.model)
    tolerance = 0.0 if adapter.exact else adapter.tolerance
    return Replay(version.ref, identical, apart, tolerance, differing, seconds)


def _apart(hub: Hub, version: Version, adapter: Adapter, model: Any) -> float:
    """The largest difference between two weights, relative to the largest of their array; loads into the model."""
    now = {name: np.array(values, "f8") for name, values in adapter.weights(model)}
    try:
        stored = hub.models.load(version.ref, into=model if adapter.needs_target else None)
    except MismatchError:  # other shapes: it is another network
        return float("inf")
    then = {name: np.asarray(values, "f8") for name, values in adapter.weights(stored)}
    if not now or {name: values.shape for name, values in now.items()} != {n: v.shape for n, v in then.items()}:
        return float("inf")
    return max(
        float(np.abs(now[name] - values).max(initial=0.0) / max(np.abs(values).max(initial=0.0), 1e-12))
        for name, values in then.items()
    )

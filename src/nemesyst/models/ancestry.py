"""What a version came from: its rows, its code and its parents, back to the raw collections."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nemesyst.errors import SettingsError, UnknownModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nemesyst.types import Version

_GENERATIONS = 100
"""Parents of parents that are followed at most."""


@dataclass(frozen=True)
class Ancestry:
    """A version and what it came from; prints as a tree.

    Attributes:
        version: The version.
        parent: What the version that training went on from came from; None without one.
        lost: Reference of a parent that is no longer there, or None.
    """

    version: Version
    parent: Ancestry | None = None
    lost: str | None = None

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The tree, line by line."""
        yield _headline(self.version)
        yield from _branches([_told(self.version.learner), _feed(self.version), self._origin()])

    def _origin(self) -> list[str]:
        if self.lost is not None:
            return [f"parent {self.lost}, which is no longer there"]
        if self.parent is None:
            return []
        first, *rest = self.parent.lines()
        return [f"parent {first}", *rest]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: ``ref``, ``digest``, ``learner``, ``lineage`` (of the feed) and ``parent``."""
        version = self.version
        return {
            "ref": version.ref,
            "digest": version.digest,
            "learner": version.learner,
            "lineage": version.lineage,
            "parent": self.lost if self.parent is None else self.parent.as_dict(),
        }


def ancestry(get: Callable[[str], Version], ref: str) -> Ancestry:
    """Follow a version's parents.

    Args:
        get: Gives the record of a reference.
        ref: Where to begin.

    Raises:
        UnknownModelError: No such model, version or alias.
    """
    line = [get(ref)]
    lost = None
    while (parent := line[-1].parent) is not None and len(line) < _GENERATIONS:
        try:
            line.append(get(parent))
        except (UnknownModelError, SettingsError):  # it is gone, or was never the name of one
            lost = parent
            break
    found = Ancestry(line.pop(), None, lost)
    for version in reversed(line):
        found = Ancestry(version, found)
    return found


def _headline(version: Version) -> str:
    metrics = "".join(f", {name} {value:.4g}" for name, value in version.metrics.items())
    return f"{version.ref}  {version.framework}, {version.created:%Y-%m-%d %H:%M:%S} UTC on {version.node}{metrics}"


def _told(learner: Any) -> list[str]:
    if not learner:
        return []
    where = f" of {learner['script']}" if learner.get("script") else ""
    git = learner.get("git") or {}
    code = [f"source {str(learner['source'])[:12]}"] if learner.get("source") else []
    code += [f"commit {str(git['commit'])[:12]}{', with changes' if git.get('dirty') else ''}"] if git else []
    args = ", ".join(f"{name}={value!r}" for name, value in (learner.get("args") or {}).items())
    return [f"learner {learner.get('function')}({args}){where}", *(f"  {each}" for each in code)]


def _feed(version: Version) -> list[str]:
    lineage = version.lineage
    if not lineage:
        collection = (version.feed or {}).get("collection")
        return [f"feed of {collection}, without a lineage"] if collection else []
    rows = ", ".join(f"{count:,} {part}" for part, count in (lineage.get("rows") or {}).items())
    moment = lineage.get("as_of")
    when = f"as of {datetime.fromtimestamp(moment[0], UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else "without a cutoff"
    head = f"feed {str(lineage.get('fingerprint'))[:12]} {when}: {rows} rows, digest {str(lineage.get('digest'))[:12]}"
    names = lineage.get("collections") or ()
    return [head, *(f"  collection {lineage.get('database')}.{name}" for name in names)]


def _branches(groups: Sequence[list[str]]) -> Iterator[str]:
    groups = [group for group in groups if group]
    for number, (first, *rest) in enumerate(groups):
        last = number == len(groups) - 1
        yield f"{'└── ' if last else '├── '}{first}"
        for line in rest:
            yield f"{'    ' if last else '│   '}{line}"

"""The results that a gate compares: computed, or offered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nemesyst.errors import GateError, SettingsError, nearest
from nemesyst.feed import BoundFeed
from nemesyst.models.evaluation import Loading, Result, Results, evaluate
from nemesyst.models.evaluation.candidates import candidate_of
from nemesyst.models.metrics import metrics_of

if TYPE_CHECKING:
    from nemesyst.models.gates import Gate
    from nemesyst.models.registry import Models
    from nemesyst.models.store import Store


def results_of(
    models: Models, store: Store, ref: str, rival: Any, gate: Gate, *, on: Any, loading: Loading | None
) -> tuple[Result, Result | None]:
    """The results of both over the same rows."""
    if isinstance(on, BoundFeed):
        refs = [ref] if rival is None else [ref, rival]
        try:
            metrics = metrics_of(gate.metric)
        except SettingsError as error:
            raise GateError(f"{ref} is not promoted: {error.message}", error.remedy) from None
        found = evaluate(models, store, refs, on, metrics, loading=loading)
        if rival is not None and len(found) < len(refs):
            raise GateError(f"{ref} is not promoted: it cannot be compared with itself", "Give another one: over=...")
        return found.rows[0], found.rows[1] if rival is not None else None
    given = _offered(on)
    mine = _of(given, ref, gate)
    if rival is None:
        return mine[-1], None
    other = candidate_of(models, rival).label
    theirs = _of(given, other, gate)
    pairs = [(one, two) for one in mine for two in theirs if one.rows == two.rows]
    if not pairs:
        raise GateError(
            f"{ref} is not promoted: its result is over the rows {mine[-1].rows[:12]} ({mine[-1].samples:,} samples), "
            f"and that of {other} over {theirs[-1].rows[:12]} ({theirs[-1].samples:,} samples): different rows cannot "
            "be compared",
            "Evaluate both together: hub.models.evaluate([one, other], feed.test, metrics).",
        )
    alike = [(one, two) for one, two in pairs if _place(one) == _place(two)]
    if not alike:
        raise GateError(
            f"{ref} is not promoted: its result is over {_told(pairs[-1][0])}, and that of {other} over "
            f"{_told(pairs[-1][1])}: their inputs cannot be taken for the same",
            "Evaluate both together: hub.models.evaluate([one, other], feed.test, metrics).",
        )
    unchanged = [(one, two) for one, two in alike if not _changed(one, two)]
    if not unchanged:
        raise GateError(
            f"{ref} is not promoted: the inputs of the rows {mine[-1].rows[:12]} have changed between its result and "
            f"that of {other}",
            "Evaluate both together: hub.models.evaluate([one, other], feed.test, metrics).",
        )
    return unchanged[-1]


def _place(result: Result) -> tuple[Any, ...]:
    return tuple(result.origin.get(name) for name in ("database", "collection", "part", "selection"))


def _told(result: Result) -> str:
    database, collection, part, selection = _place(result)
    named = f"{database}.{collection}" + (f", part {part}" if part else "")
    return named + (f", with {selection}" if selection not in (None, "{}") else "")


def _changed(one: Result, two: Result) -> bool:
    """Whether the same was read, and something else was found in it."""
    (first, _, inputs), (second, _, others) = one.inputs.partition(":"), two.inputs.partition(":")
    return first == second and inputs != others


def _offered(on: Any) -> list[Result]:
    several = [on] if isinstance(on, Results | Result) else list(on) if isinstance(on, Sequence) else []
    given = [row for each in several for row in ([each] if isinstance(each, Result) else each)]
    if not given or not all(isinstance(row, Result) for row in given):
        raise SettingsError(
            f"promote: on={on!r:.80} is neither a bound feed nor results",
            "Give the rows to compare on, such as on=hub.feed(spec).test, or what evaluate gave.",
        )
    return given


def _of(given: Sequence[Result], candidate: str, gate: Gate) -> list[Result]:
    rows = [row for row in given if row.candidate == candidate]
    if not rows:
        known = sorted({row.candidate for row in given})
        raise GateError(
            f"there is no result of {candidate} among those given ({', '.join(known)})",
            "Evaluate it over the same rows.",
        )
    named = [row for row in rows if row.metric == gate.name]
    if not named:
        raise GateError(
            f"there is no {gate.name} of {candidate}; {nearest(gate.name, [row.metric for row in rows])}",
            "Evaluate that metric over the same rows.",
        )
    return named

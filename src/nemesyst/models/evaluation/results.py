"""What an evaluation found: a table over the same samples."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from nemesyst.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    import numpy as np

    from nemesyst.models.metrics import Better


@dataclass(frozen=True)
class Result:
    """One metric of one candidate.

    Attributes:
        candidate: Reference of a version, or the name of a baseline or function.
        kind: ``"version"``, ``"baseline"`` or ``"function"``.
        metric: What the caller calls the metric.
        definition: The built-in metric that it is, such as ``"mae"``; or ``"function:..."``.
        better: Whether ``"lower"`` or ``"higher"`` is better; None: it is not known.
        value: The number, in the target's own units; NaN where there is none.
        low: Lower end of its interval; NaN where there is none.
        high: Upper end.
        confidence: Of the interval, such as 0.95.
        samples: Samples that it was taken over: those that all candidates have in common.
        of: Samples that the candidate has by itself.
        bad: Samples for which the prediction is NaN or infinite.
        rows: Digest of the samples, ids and targets: results with the same one can be compared.
        origin: Which rows: database, collection, part, what selects them, fingerprint of the feed and cutoff.
        when: When it was computed (UTC); None: it has not been stored.
        found: Whether it was found in the database, from an earlier evaluation.
        inputs: Digest of what is read, and behind ``:`` of the inputs that were read; empty where they are not known.
        caution: Why the number may be better than it should; None: no reason is known.
        sums: Sums of each block, shape (blocks, columns); None for a plain function.
        shown: A few predictions beside the truth, for pictures.
    """

    candidate: str
    kind: str
    metric: str
    definition: str
    better: Better | None
    value: float
    low: float
    high: float
    confidence: float
    samples: int
    of: int
    bad: int
    rows: str
    origin: Mapping[str, Any] = field(repr=False)
    when: datetime | None = None
    found: bool = False
    inputs: str = ""
    caution: str | None = None
    sums: np.ndarray[Any, Any] | None = field(default=None, repr=False, compare=False)
    shown: Mapping[str, Sequence[float]] | None = field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; NaN as None."""
        names = ("candidate", "kind", "metric", "better", "value", "low", "high", "confidence", "samples", "of", "bad")
        values = {name: getattr(self, name) for name in (*names, "rows")} | {"origin": dict(self.origin)}
        return {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in values.items()}


class Results:
    """Results of several candidates over the same samples: a table.

    Args:
        rows: One for each candidate and metric.

    ``results["air@3", "mae"]`` is one of them; ``print(results)`` and a notebook show the table.
    """

    def __init__(self, rows: Sequence[Result]) -> None:
        self.rows = tuple(rows)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, which: tuple[str, str]) -> Result:
        if not isinstance(which, tuple) or len(which) != 2:
            raise SettingsError(f"results[{which!r}]", 'Give candidate and metric: results["air@3", "mae"].')
        for row in self.rows:
            if (row.candidate, row.metric) == which:
                return row
        known = [f"{row.candidate}, {row.metric}" for row in self.rows]
        raise SettingsError(f"results: there is no {', '.join(map(str, which))}", nearest(", ".join(which), known))

    def __repr__(self) -> str:
        return f"<results of {len(self.candidates)} candidates, {self.samples:,} samples>"

    def __add__(self, other: Self) -> Results:
        return Results([*self.rows, *other.rows])

    @property
    def candidates(self) -> list[str]:
        """Their names, in order."""
        return list(dict.fromkeys(row.candidate for row in self.rows))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in order."""
        return list(dict.fromkeys(row.metric for row in self.rows))

    @property
    def samples(self) -> int:
        """Samples that all have in common."""
        return min((row.samples for row in self.rows), default=0)

    def best(self, metric: str) -> Result | None:
        """The best one; NaN never is. None where all are NaN, or where it is not known what is better."""
        rows = [row for row in self.rows if row.metric == metric and row.better and math.isfinite(row.value)]
        if len({row.rows for row in rows}) != 1:
            return None
        return min(rows, key=lambda row: row.value if row.better == "lower" else -row.value)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Heads and lines, as texts: a line for each candidate, ``*`` at the best of each metric."""
        best = {metric: self.best(metric) for metric in self.metrics}
        lines = []
        for candidate in self.candidates:
            rows = {row.metric: row for row in self.rows if row.candidate == candidate}
            cells = [_cell(rows.get(metric), best[metric]) for metric in self.metrics]
            first = next(iter(rows.values()))
            lines.append([candidate, *cells, f"{first.samples:,} of {first.of:,}", _note(first)])
        return ["", *self.metrics, "samples", ""], lines

    def caption(self) -> str:
        """Over which rows, in a sentence."""
        if not self.rows:
            return "nothing was evaluated"
        origin, digest = self.rows[0].origin, {row.rows for row in self.rows}
        part = f"{origin.get('part')} part of " if origin.get("part") else ""
        which = next(iter(digest))[:12] if len(digest) == 1 else "different ones"
        return f"{part}{origin.get('collection')}, {self.samples:,} samples, rows {which}"

    def __str__(self) -> str:
        heads, lines = self.table()
        widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
        shown = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in [heads, *lines]
        ]
        return "\n".join([*shown, self.caption()])

    def _repr_html_(self) -> str:
        heads, lines = self.table()
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in line) + "</tr>" for line in lines)
        return f"<table><caption>{html.escape(self.caption())}</caption><tr>{head}</tr>{body}</table>"

    def to_pandas(self) -> Any:
        """The results as a pandas frame, a row each.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        left_out = ("sums", "shown", "origin")
        return pd.DataFrame([{n: v for n, v in vars(row).items() if n not in left_out} for row in self.rows])


def _cell(row: Result | None, best: Result | None) -> str:
    if row is None:
        return ""
    text = f"{row.value:.4g}"
    if math.isfinite(row.low):
        text += f" [{row.low:.4g}, {row.high:.4g}]"
    return f"{text} *" if row is best else text


def _note(row: Result) -> str:
    notes = [f"{row.bad:,} predictions are no numbers"] if row.bad else []
    notes += [row.caution] if row.caution else []
    return ", ".join([*notes, *(["found"] if row.found else [])])

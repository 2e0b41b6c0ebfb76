"""A model card as one HTML file: no script, nothing from elsewhere, light and dark, readable on a phone."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

from nemesyst.models.card.pictures import Mark, intervals, lines, scatter
from nemesyst.models.card.style import STYLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nemesyst.models.card.facts import Facts
    from nemesyst.models.evaluation import Result

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(facts: Facts) -> str:
    """The card; everything that comes from records is escaped."""
    version = facts.version
    sections = [
        (
            "Purpose",
            _paragraphs(version.text or "No purpose was given when it was saved (text=...)."),
        ),
        ("Results", _results(facts)),
        ("Predictions beside the truth", _predictions(facts)),
        ("Training", _training(facts)),
        ("Data", _data(facts)),
        ("Where it comes from", _lineage(facts)),
        ("Environment", _pairs(_flat(version.environment))),
        ("Limits and safety", _limits(facts)),
    ]
    body = "".join(f"<section><h2>{escape(head)}</h2>{text}</section>" for head, text in sections if text)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(version.ref)}</title><style>{STYLE}</style></head><body><main>{_head(facts)}{body}"
        "</main></body></html>\n"
    )


def _head(facts: Facts) -> str:
    version = facts.version
    named = "".join(f'<span class="tag">{escape(alias)}</span>' for alias in version.aliases)
    said = [version.framework, f"{version.created:%Y-%m-%d %H:%M} UTC", f"{version.size:,} bytes"]
    said += [f"saved on {version.node}"] if version.node else []
    return f"<header><h1>{escape(version.ref)}{named}</h1><p>{escape(' · '.join(said))}</p></header>"


def _results(facts: Facts) -> str:
    parts = [] if facts.own else [_said_by_training(facts)]
    for metric in dict.fromkeys(each.metric for each in facts.results):
        rows = [each for each in facts.results if each.metric == metric]
        marks = [Mark(r.candidate, r.value, r.low, r.high, r.candidate == facts.version.ref) for r in rows]
        better = f", {rows[0].better} is better" if rows[0].better else ""
        sure = f"bars: {rows[0].confidence:.0%} interval"
        parts.append(_figure(intervals(f"{metric} of versions and baselines", marks), f"{metric}{better}; {sure}"))
    if facts.own:
        first = facts.own[0]
        part = f"{first.origin.get('part')} part of " if first.origin.get("part") else ""
        parts.append(
            f"<p>Over {first.samples:,} samples of the {escape(part)}{escape(str(first.origin.get('collection')))}, "
            f"in the target's own units. Rows <code>{escape(first.rows[:16])}</code>.</p>"
        )
        parts.append(_table(("candidate", "metric", "value", "interval", "samples"), map(_cells, facts.results)))
    return "".join(parts)


def _cells(row: Result) -> list[str]:
    return [row.candidate, row.metric, f"{row.value:.4g}", f"{row.low:.4g} to {row.high:.4g}", f"{row.samples:,}"]


def _said_by_training(facts: Facts) -> str:
    rows = [(each.ref, name, f"{value:.4g}") for each in facts.earlier for name, value in each.metrics.items()]
    if not rows:
        return "<p>No evaluation is stored, and no metric was saved with it.</p>"
    return "<p>As said by whoever trained it, not compared here:</p>" + _table(("version", "metric", "value"), rows)


def _predictions(facts: Facts) -> str:
    shown = next((each.shown for each in facts.own if each.shown and each.shown.get("truth")), None)
    if shown is None:
        return ""
    truth, said = shown["truth"], shown["predicted"]
    window = (facts.version.feed or {}).get("window")
    if window is None:
        points = list(zip(truth, said, strict=False))
        return _figure(
            scatter("predicted over true values", points, "truth", "predicted"), "The first samples of the part."
        )
    series = {"truth": list(enumerate(truth)), "predicted": list(enumerate(said))}
    return _figure(
        lines("truth and prediction", series, "sample"), "The first samples of the part, the first step of each target."
    )


def _training(facts: Facts) -> str:
    version = facts.version
    curves = _figure(lines("metrics over the training", facts.curves, "step"), "Metrics over the training.")
    learner = {name: value for name, value in (version.learner or {}).items() if value is not None}
    rows = {"build": version.build, "arguments": version.args or None, **learner}
    rows["saved metrics"] = {name: round(value, 6) for name, value in version.metrics.items()} or None
    return (curves if facts.curves else "") + _pairs(rows)


def _data(facts: Facts) -> str:
    feed = dict(facts.version.feed or {})
    if not feed:
        return "<p>It was saved without a feed: what it learned from is not recorded.</p>"
    lineage = facts.version.lineage or {}
    names = ("collection", "params", "inputs", "targets", "window", "split", "join", "scale", "missing")
    told = {name: feed.get(name) for name in names}
    told |= {"rows": dict(facts.version.rows) or lineage.get("rows"), "cutoff": _moment(lineage.get("as_of"))}
    told |= {"digest of the rows": lineage.get("digest"), "feed's fingerprint": lineage.get("fingerprint")}
    pipeline = feed.get("pipeline")
    shown = f"<h3>Pipeline</h3><pre>{escape(json.dumps(pipeline, indent=1))}</pre>" if pipeline else ""
    return _pairs(told) + shown


def _moment(cutoff: Any) -> str | None:
    """A cutoff as a time."""
    if not isinstance(cutoff, list | tuple) or not cutoff or not isinstance(cutoff[0], int):
        return None
    return f"{datetime.fromtimestamp(cutoff[0], UTC):%Y-%m-%d %H:%M:%S} UTC"


def _lineage(facts: Facts) -> str:
    tree = f"<pre>{escape(facts.tree)}</pre>" if facts.tree else ""
    rows = [
        (
            alias,
            move.kind,
            f"{move.source or '-'} → {move.target}",
            move.who,
            f"{move.when:%Y-%m-%d %H:%M}",
            move.why or "",
        )
        for alias, moves in facts.moves.items()
        for move in moves[-10:]
    ]
    return tree + (_table(("alias", "move", "version", "who", "when (UTC)", "why"), rows) if rows else "")


def _limits(facts: Facts) -> str:
    version = facts.version
    said = [
        *facts.limits(),
        "Figures hold for rows like those evaluated; they say nothing about other devices, seasons or sensors.",
        "Loading it runs nothing that its stored bytes bring; they are verified against the digest below.",
    ]
    tags = {f"tag {name}": value for name, value in version.tags.items()}
    return (
        "<ul>"
        + "".join(f"<li>{escape(each)}</li>" for each in said)
        + "</ul>"
        + _pairs({"BLAKE3": version.digest, **tags})
    )


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in str(text).split("\n\n") if part.strip())


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _pairs(values: Mapping[str, Any]) -> str:
    told = {name: value for name, value in values.items() if value not in (None, [], {}, "", ())}
    rows = "".join(f"<dt>{escape(str(name))}</dt><dd>{escape(_plain(value))}</dd>" for name, value in told.items())
    return f"<dl>{rows}</dl>" if rows else ""


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "items"):
        return ", ".join(f"{name}: {_plain(inner)}" for name, inner in value.items() if inner not in (None, [], {}))
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Versions of packages beside the rest."""
    packages: Any = values.get("packages")
    rest = {name: value for name, value in values.items() if name != "packages"}
    return rest | (dict(packages) if hasattr(packages, "items") else {})

"""What became of jobs, for people and as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.run import JobReport

_SHOWN = 20
"""Failures that the summary names."""
_MB = 1 << 20


def report_of(report: JobReport) -> dict[str, Any]:
    """A report as JSON values."""
    job = report.job
    told: dict[str, Any] = {"job": job.name, "stage": job.kind, "script": str(job.script)}
    told |= {"label": job.label} if job.label else {}
    told |= {"entity": job.entity} if job.entity is not None else {}
    told |= {"run": report.run} if report.run else {}
    told |= {"memory": report.memory, "attempts": report.attempts, "seconds": report.seconds}
    if report.error is not None:
        told |= {"error": type(report.error).__name__, "message": report.error.message, "stopped": report.stopped}
    elif report.outcome is not None:
        told |= asdict(report.outcome)
    plain: dict[str, Any] = json.loads(json.dumps(told, default=str))
    return plain


def line_of(report: JobReport) -> str:
    """A report of a job that was done, as a line: what it did, its time and its memory."""
    if report.outcome is None:
        return f"{report.job}: done"
    memory = f", {report.memory / _MB:,.0f} MB" if report.memory else ""
    again = f", {report.attempts} attempts" if report.attempts > 1 else ""
    return f"{report.job}: {report.outcome.summary} in {report.outcome.seconds:.1f} s{memory}{again}"


def tell_failures(reports: Sequence[JobReport], jobs: int) -> None:
    """Say at the end how many of the jobs failed, and which.

    Args:
        reports: Of all that ran.
        jobs: How many there were, also those that were not started.
    """
    bad = [report for report in reports if report.error is not None and not report.stopped]
    stopped = sum(report.stopped for report in reports)
    parts = [f"error: {len(bad)} of {max(jobs, len(reports))} jobs failed"]
    parts += [f"{stopped} stopped"] if stopped else []
    parts += [f"{jobs - len(reports)} not started"] if jobs > len(reports) else []
    lines = ["; ".join(parts)]
    if len(reports) > 1:
        lines += [f"  {report.job}: {_short(report)}" for report in bad[:_SHOWN]]
        lines += [f"  ... and {len(bad) - _SHOWN:,} more"] if len(bad) > _SHOWN else []
    print("\n".join(lines), file=sys.stderr, flush=True)


def _short(report: JobReport) -> str:
    message = "" if report.error is None else report.error.message.splitlines()[0]
    again = f" (attempt {report.attempts})" if report.attempts > 1 else ""
    return f"{message if len(message) <= 200 else message[:197] + '...'}{again}"

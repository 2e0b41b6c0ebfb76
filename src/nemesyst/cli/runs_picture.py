"""The curves of a run as a picture file."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nemesyst.cli.charts import Thin, thinned, together
from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemesyst.run import RunRecord, Series

_POINTS = 1000
_KINDS = (".png", ".svg", ".pdf")


def _mark(thin: Thin) -> str | None:
    """A line through one point is not to be seen."""
    return "o" if len(thin.steps) == 1 else None


def save_picture(path: Path, record: RunRecord, curves: Mapping[str, Series]) -> None:
    """Draw the curves into a file, whose ending says how; a shade shows the least and largest of each stretch.

    Raises:
        SettingsError: matplotlib is not installed, the ending is not known, there is nothing to draw, or the file
            cannot be written.
    """
    if path.suffix.lower() not in _KINDS:
        raise SettingsError(f"--picture {path}: the ending {path.suffix!r} is none of a picture", "Use .png or .svg.")
    if not curves:
        raise SettingsError(f"--picture {path}: run {record.id} logged nothing", "Call run.log in the function.")
    try:
        import matplotlib as mpl
    except ImportError:
        raise SettingsError(
            "--picture needs matplotlib, which is not installed", "Install it: pip install 'nemesyst[plot]'."
        ) from None
    mpl.use("agg")
    from matplotlib import pyplot as plt

    groups = together(curves)
    columns = 1 if len(groups) == 1 else 2
    rows = math.ceil(len(groups) / columns)
    figure, axes = plt.subplots(rows, columns, figsize=(6.4 * columns, 3.4 * rows), squeeze=False, layout="constrained")
    for axis, (group, names) in zip(axes.flat, groups.items(), strict=False):
        for name in names:
            thin = thinned(curves[name], _POINTS)
            (line,) = axis.plot(
                thin.steps, thin.mean, label=name.removeprefix(f"{group}/"), linewidth=1.5, marker=_mark(thin)
            )
            axis.fill_between(thin.steps, thin.low, thin.high, color=line.get_color(), alpha=0.2, linewidth=0)
        axis.set_title(group if len(names) > 1 else names[0], loc="left", parse_math=False)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        if len(names) > 1:
            axis.legend(frameon=False)
    for axis in axes.flat[len(groups) :]:
        axis.set_visible(False)
    entity = "" if record.work.entity is None else f"[{record.work.entity}]"
    figure.suptitle(f"{record.work.function}{entity}  {record.id}  {record.status}", parse_math=False)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise SettingsError(f"--picture {path} cannot be written: {error.strerror}", "Check the folder.") from None
    finally:
        plt.close(figure)

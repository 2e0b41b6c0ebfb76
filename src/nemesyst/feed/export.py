"""The rows of a feed as Parquet files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.feed.binding.lineage import lineage
from nemesyst.feed.split import PARTS
from nemesyst.feed.table import BY, ON, PART
from nemesyst.frameworks import arrow_columns

if TYPE_CHECKING:
    from pathlib import Path

    from nemesyst.feed.binding.bound_rows import Binding
    from nemesyst.feed.table import Table


def export(binding: Binding, folder: Path) -> None:
    """Write a file for each chunk, and ``lineage.json`` when all of them are there.

    Raises:
        FeedError: pyarrow is not installed; the folder cannot be written, or holds another export.
    """
    try:
        import pyarrow.parquet
    except ImportError:
        raise FeedError("pin: pyarrow is not installed", "pip install 'nemesyst[arrow]'") from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FeedError(f"pin: folder {folder} is not empty", "Name a new one.")
        for chunk in range(binding.chunks.source.rows.chunks()):
            table = binding.chunks.source.own(chunk)
            if table.rows:
                columns = arrow_columns(_named(binding, table))
                pyarrow.parquet.write_table(pyarrow.table(columns), folder / f"rows-{chunk:06}.parquet")
        (folder / "lineage.json").write_text(json.dumps(lineage(binding), indent=1))
    except OSError as error:
        raise FeedError(f"pin: folder {folder} cannot be written: {error}", "Check the path and the disk.") from None


def _named(binding: Binding, table: Table) -> dict[str, Any]:
    """The arrays by the names of their fields."""
    fields, window = binding.chunks.source.fields, binding.spec.window
    groups = {**fields.groups, "y": fields.targets}
    made: dict[str, Any] = {}
    for name, values in table.arrays.items():
        names = groups.get(name, ())
        if name == PART:
            made["part"] = np.array([*PARTS, ""])[values]
        elif name == BY and window is not None:
            made.setdefault(str(window.by), values)
        elif name == ON and window is not None:
            made.setdefault(window.on, values)
        elif name.startswith("#"):
            continue
        elif names and values.ndim == 2 and values.shape[1] == len(names):
            made |= {field: np.ascontiguousarray(values[:, i]) for i, field in enumerate(names)}
        else:
            made[names[0] if len(names) == 1 else name] = values
    return made

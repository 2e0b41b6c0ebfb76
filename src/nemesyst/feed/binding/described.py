"""What is told from rows before any batch: arrays and codes from the first ones, times from those of a pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FieldError
from nemesyst.feed.assemble import present
from nemesyst.feed.categories import Categories
from nemesyst.feed.decode import Decoder
from nemesyst.feed.kept import all_of
from nemesyst.feed.pipeline import fill
from nemesyst.feed.prepare import collect_texts, held_columns, text_fields
from nemesyst.feed.windows import Events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.database import Cutoff
    from nemesyst.feed.binding.target import Target
    from nemesyst.feed.raws import Raw
    from nemesyst.feed.source import Source


def describe(source: Source, raws: Sequence[Raw], categories: Mapping[str, Any] | None) -> None:
    """Tell the arrays of a source from its first rows, and the codes of its texts.

    Args:
        source: The source.
        raws: Its first rows.
        categories: Codes that texts were given before; None: all rows are read for them, if there are texts.
    """
    texts = sorted({name for raw in raws for name in text_fields(source, source.columns(raw))})
    if categories is not None:
        source.settle(categories=Categories.from_dict(categories))
    elif texts:
        source.settle(categories=collect_texts(source, texts))
    source.held = held_columns(source, raws)
    source.table(raws)
    chunks = source.rows.chunks() if raws and not source.layout else 0  # the first rows were all left out
    for chunk in range(chunks):
        if source.own(chunk).rows:
            break


def events(target: Target, cutoff: Cutoff) -> Events | None:
    """Times around which windows are taken, where a pipeline gives them.

    Raises:
        FieldError: The pipeline's rows lack them.
    """
    window = target.spec.window
    if window is None or window.anchor is None or isinstance(window.anchor, str):
        return None
    stages = fill(window.anchor, target.spec.params or {})
    names = [name for name in (window.by, window.on) if name is not None]
    decoder = Decoder(names)
    try:
        tables = all_of(
            cutoff,
            [*target.view, *stages],
            lambda batch: [present(columns, name) for columns in [decoder.decode(batch)] for name in names],
            "Window: anchor: its stages must run as a whole",
        )
    except FieldError as error:
        raise FieldError(
            f"Window: anchor: {error.message}", f"Its stages must yield the fields {' and '.join(names)}."
        ) from None
    if not tables:
        return Events(np.empty(0))
    arrays = [np.concatenate([table[i] for table in tables]) for i in range(len(names))]
    return Events(arrays[-1], arrays[0] if window.by is not None else None)

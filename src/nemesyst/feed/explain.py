"""How a feed would be read, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemesyst.feed.binding import Place
    from nemesyst.feed.judging import Explanation
    from nemesyst.feed.spec import Feed


def explain(place: Place, spec: Feed) -> Explanation:
    """How a feed would be read; its parameters are put in.

    Raises:
        FeedError: No such collection.
        PipelineError: The server refuses the pipeline.
    """
    from nemesyst.database import check_pipeline
    from nemesyst.feed.binding.target import Target
    from nemesyst.feed.judging import explain as judged

    target = Target(place, spec)
    check_pipeline(place.connection, place.database, target.collection, target.stages)
    window = spec.window
    order = () if window is None else tuple(name for name in (window.by, window.on) if name is not None)
    return judged(place.connection, place.database, target.collection, target.stages, order=order)

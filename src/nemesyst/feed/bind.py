"""A feed out of a specification and a database, in this process or in a worker's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bson import Timestamp

from nemesyst.errors import FeedError
from nemesyst.feed.binding import NOW, Asked, Place
from nemesyst.feed.bound import BoundFeed
from nemesyst.feed.params import check_params
from nemesyst.feed.recipe import Recipe
from nemesyst.feed.spec import Feed

if TYPE_CHECKING:
    from nemesyst.database import Connection
    from nemesyst.feed.binding.bound_rows import Binding
    from nemesyst.feed.binding.family import Family


def bind(
    place: Place, spec: Feed | Mapping[str, Any], *, params: Mapping[str, Any] | None = None, asked: Asked = NOW
) -> BoundFeed:
    """Bind a specification, or what :meth:`BoundFeed.recorded` gave, to a database.

    Raises:
        FeedError: No such collection, a pipeline that the server refuses, a field that no document has.
    """
    if not isinstance(spec, Feed | Mapping):
        raise FeedError(
            f"hub.feed: {spec!r:.80} is not a feed",
            "Give the name of a collection, a nm.Feed, or the feed of a version.",
        )
    if not isinstance(spec, Feed):
        asked = replace(asked, prepared=spec.get("prepared"))
        spec = Feed.from_dict({name: value for name, value in spec.items() if name != "prepared"})
    filled = spec if params is None else spec.with_(params={**(spec.params or {}), **check_params("hub.feed", params)})
    return BoundFeed(_family(place, filled, asked))


def _family(place: Place, spec: Feed, asked: Asked) -> Family:
    from nemesyst.feed.binding.binder import bind_rows  # here: what reads takes a while to import
    from nemesyst.feed.binding.family import Family

    def rebind(time: Timestamp | None) -> Binding:
        return bind_rows(place, spec, replace(asked, as_of=None, time=time))

    def narrow(spec: Feed, time: Timestamp | None) -> Family:
        return _family(place, spec, replace(asked, as_of=None, time=time))

    def recipe(**state: Any) -> Recipe:
        where = replace(place, connection=None)
        return Recipe(place.connection.again, open_share, where=where, spec=spec, asked=asked, **state)

    return Family(rebind, bind_rows(place, spec, asked), recipe, narrow)


def open_share(  # noqa: PLR0913 - what a recipe holds
    connection: Connection,
    worker: int,
    workers: int,
    *,
    where: Place,
    spec: Feed,
    asked: Asked,
    time: tuple[int, int] | None,
    part: str | None,
    place: Mapping[str, Any],
) -> BoundFeed:
    """Open a worker's share of a part: each of the workers' turns to give a batch."""
    here = replace(asked, as_of=None, time=None if time is None else Timestamp(*time))
    family = _family(replace(where, connection=connection), spec, here)
    family.place(part).load(place)
    return BoundFeed(family, part, turn=(worker, workers))

"""What the feeds of all parts share: the binding, and where each part is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError
from nemesyst.feed.binding.length import estimate
from nemesyst.feed.binding.lineage import lineage
from nemesyst.feed.binding.position import Position
from nemesyst.feed.binding.state import VERSION, state_of
from nemesyst.feed.split import PARTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bson import Timestamp

    from nemesyst.feed.binding.bound_rows import Binding
    from nemesyst.feed.order import Leg
    from nemesyst.feed.recipe import Recipe
    from nemesyst.feed.spec import Feed


class Family:
    """The feeds of all parts.

    Args:
        rebind: Binds anew: with the cutoff of now, or with a given one.
        binding: What they are bound to.
        recipe: Tells another process how to bind; takes the cutoff, a part, and where it is.
        narrow: Binds another specification in the same place, with the same cutoff.
    """

    def __init__(
        self,
        rebind: Callable[[Timestamp | None], Binding],
        binding: Binding,
        recipe: Callable[..., Recipe],
        narrow: Callable[[Feed, Timestamp | None], Family],
    ) -> None:
        self._rebind = rebind
        self._recipe = recipe
        self._narrow = narrow
        self.binding = binding
        self._places: dict[str, Position] = {}
        self._told: tuple[Binding, dict[str, Any]] | None = None

    def place(self, part: str | None) -> Position:
        """Where a part is."""
        name = "all" if part is None or self.binding.spec.split is None else part
        return self._places.setdefault(name, Position())

    @property
    def rows(self) -> dict[str, int]:
        """Samples of each part that was gone through."""
        return {name: place.rows for name, place in sorted(self._places.items()) if place.rows is not None}

    def went_through(self, rows: Mapping[str, int]) -> None:
        """Take over how many samples of each part all ranks together have gone through."""
        for name, count in rows.items():
            self._places.setdefault(name, Position()).rows = count

    def refresh(self) -> None:
        """Bind to the rows of now."""
        self.binding = self._rebind(None)
        for place in self._places.values():
            place.load({"epoch": place.epoch, "legs": []})

    def since(self, span: Any, on: str | None) -> Family:
        """The newest rows by event time, under the same cutoff."""
        from nemesyst.feed.since import narrowed

        return self._narrow(narrowed(self.binding, span, on), self.binding.time)

    def pin(self) -> None:
        """Keep the rows, and read those that were kept from now on."""
        self.binding.pin()
        self.binding = self._rebind(self.binding.time)

    def state_dict(self, *, stored: bool = True) -> dict[str, Any]:
        """Where all parts are; see :meth:`BoundFeed.state_dict`."""
        binding = self.binding
        if stored or self._told is None or self._told[0] is not binding:
            self._told = binding, self._stored(binding)
        return {**self._told[1], "parts": {name: place.as_dict() for name, place in sorted(self._places.items())}}

    def _stored(self, binding: Binding) -> dict[str, Any]:
        """Store the plan; what a state says of it."""
        if binding.time is None:
            raise FeedError(
                f"feed of {binding.spec.collection}: without a cutoff the rows of an epoch cannot be found again",
                "Resuming needs a replica set (one node is enough).",
            )
        binding.save()
        return {
            "version": VERSION,
            "fingerprint": binding.spec.fingerprint,
            "plan": binding.key,
            "bounds": binding.plan().digest,
            "as_of": [binding.time.time, binding.time.inc],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        try:
            given = state_of(state)
        except ValueError as error:
            raise FeedError(
                "load_state_dict: this is not the state of a feed", f"Give what state_dict() gave: {error}."
            ) from None
        if given.version != VERSION:
            raise FeedError(
                f"load_state_dict: a state of version {given.version}", f"This Nemesyst reads version {VERSION}."
            )
        spec = self.binding.spec
        if given.fingerprint != spec.fingerprint:
            raise FeedError(
                f"load_state_dict: the state is of a feed with fingerprint {given.fingerprint}, and this one has "
                f"{spec.fingerprint}",
                "Use the specification (fields, pipeline, batch size, seed ...) that the state was taken with.",
            )
        binding = self._rebind(given.time)
        if binding.key != given.plan or binding.plan().digest != given.bounds:
            raise FeedError(
                f"load_state_dict: the plan {given.plan[:12]} cannot be had: it is another database, or its rows have "
                "changed",
                "Begin a new epoch with a new feed.",
            )
        for name, (epoch, legs) in given.parts.items():
            _check_steps(binding, name, epoch, legs)
        self.binding = binding
        before, parts = self._places, given.parts
        self._places = {
            name: before.get(name, Position()).moved(*parts.get(name, (0, ()))) for name in before.keys() | parts.keys()
        }

    def recipe(self, part: str | None) -> Recipe:
        """How another process reads a part from where it is."""
        time = self.binding.time
        return self._recipe(
            time=None if time is None else (time.time, time.inc), part=part, place=self.place(part).as_dict()
        )

    def estimate(self, part: str | None) -> int | None:
        """About how many samples a part has."""
        return estimate(self.binding, part)

    def lineage(self) -> dict[str, Any]:
        """Where the rows come from."""
        return lineage(self.binding)


def _check_steps(binding: Binding, name: str, epoch: int, legs: tuple[Leg, ...]) -> None:
    """Refuse legs that are longer than an epoch, as far as that is known without reading; later reading tells it."""
    rows, facts = binding.chunks.source.rows, binding.chunks.facts
    if legs and all(chunk in facts for chunk in range(rows.chunks())):
        binding.order(epoch, PARTS.index(name) if name in PARTS else None).run(binding.shard, legs, strict=True)

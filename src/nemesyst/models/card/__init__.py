"""Model cards: what is recorded of a version, as one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemesyst.models.registry import Models
    from nemesyst.models.store import Store


def card(models: Models, store: Store, ref: str) -> str:
    """A model card as HTML text; see ``Models.card``.

    Args:
        models: The registry.
        store: Where it is.
        ref: A reference; a bare name means its champion, or else its latest version.

    Raises:
        UnknownModelError: No such model.
    """
    from nemesyst.models.card.facts import gathered
    from nemesyst.models.card.page import page
    from nemesyst.models.evaluation import Evaluations

    return page(gathered(models, Evaluations(store), ref))


__all__ = ["card"]

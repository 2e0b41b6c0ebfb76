"""Texts as classes: two versions may have learned other codes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.models.evaluation.candidates import Candidate

    Array = np.ndarray[Any, Any]


def united(candidates: Sequence[Candidate], targets: Sequence[str]) -> dict[str, list[Any]]:
    """Texts of the target over all candidates, by field; their places are the codes that results are made with.

    Raises:
        FeedError: The codes differ where they cannot be told apart: among several targets, or in the inputs too.
    """
    found: dict[str, list[Any]] = {}
    for name in targets:
        known = {candidate.label: list(candidate.categories.get(name) or ()) for candidate in candidates}
        lists = [texts for texts in known.values() if texts]
        if not lists:
            continue
        if any(texts != lists[0] for texts in lists) and (len(targets) > 1 or _among_inputs(candidates, name)):
            raise FeedError(
                f"evaluate: the codes of the texts of {name} are not the same in {', '.join(known)}",
                f"Compare versions that learned the same texts, or leave {name} out of the inputs.",
            )
        found[name] = sorted({text for texts in lists for text in texts})
    return found


def _among_inputs(candidates: Sequence[Candidate], name: str) -> bool:
    for candidate in candidates:
        inputs: Any = candidate.spec.inputs if candidate.spec is not None else ()
        groups = inputs.values() if hasattr(inputs, "values") else [inputs or ()]
        if any(name in group for group in groups):
            return True
    return False


def table_of(own: Sequence[Any], united: Sequence[Any]) -> Array | None:
    """From a version's codes to the common ones, that of unknown texts last; None: they are the same."""
    if not own or list(own) == list(united):
        return None
    places = {text: code for code, text in enumerate(united)}
    return np.array([*(places[text] for text in own), len(united)], np.int64)


def recoded(said: Array, truth: Array, table: Array, count: int) -> Array:
    """Predictions in a version's own codes, in the common ones.

    Args:
        said: Classes, shape of ``truth``, or scores with an axis behind it.
        truth: Tells which of the two it is.
        table: See :func:`table_of`.
        count: How many common codes there are.
    """
    if said.ndim == truth.ndim:
        if said.dtype.kind == "f":
            return said  # a probability of class 1 means nothing here; the metric will say so
        classes: Array = table[np.clip(said, 0, len(table) - 1)]
        return classes
    scores = said.astype(np.float64)
    shares = (scores >= 0).all(axis=-1) & (np.abs(scores.sum(axis=-1) - 1) < 1e-3)
    made: Array = np.full((*truth.shape, count + 1), -np.inf)
    made[shares] = 0.0
    made[..., table[: scores.shape[-1]]] = scores
    return made

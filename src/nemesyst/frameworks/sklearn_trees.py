"""Checks the trees of a loaded scikit-learn model, whose compiled code follows their indices without looking.

A hand-made tree could make the process read outside of its memory at the first prediction; see
https://github.com/scikit-learn/scikit-learn/pull/34558. A tree that training made passes: children stand behind
their parent, and each feature is one that the estimator checks its inputs to have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import CorruptBlobError

if TYPE_CHECKING:
    from collections.abc import Iterator

_SKIPS_CHECKS = ("BaseForest", "BaseGradientBoosting")
"""Ensembles that hand inputs to their members unchecked, so that every member must take as many features."""


def check_trees(model: object) -> None:
    """Raise unless every tree inside of the model can be followed safely.

    Raises:
        CorruptBlobError: A node of a tree points outside of the tree, back, or to a feature that is not there.
    """
    for owner in _objects(model):
        kinds = {kind.__name__ for kind in type(owner).__mro__}
        width = getattr(owner, "n_features_in_", -1)
        if "BaseDecisionTree" in kinds and (tree := getattr(owner, "tree_", None)) is not None:
            _require(tree.n_features == width, "a tree and its estimator have different numbers of features")
            _check_tree(tree, width)
        elif kinds.intersection(_SKIPS_CHECKS):
            members = [each for each in _objects(getattr(owner, "estimators_", None)) if hasattr(each, "tree_")]
            _require(
                all(each.n_features_in_ == width for each in members), "an ensemble's trees differ in their features"
            )
        elif "BaseHistGradientBoosting" in kinds:
            for predictor in _objects(getattr(owner, "_predictors", None)):
                if type(predictor).__name__ == "TreePredictor":
                    _check_predictor(predictor, width)


def _check_tree(tree: Any, width: int) -> None:
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    inner = left != -1
    _check_children(left[inner], right[inner], np.flatnonzero(inner), len(left))
    _check_features(feature[inner], width)


def _check_predictor(predictor: Any, width: int) -> None:
    nodes = predictor.nodes
    inner = nodes["is_leaf"] == 0
    split = nodes[inner]
    _check_children(split["left"], split["right"], np.flatnonzero(inner), len(nodes))
    _check_features(split["feature_idx"], width)
    categories = split["bitset_idx"][split["is_categorical"] != 0]
    sets = min(len(predictor.raw_left_cat_bitsets), len(predictor.binned_left_cat_bitsets))
    _require(bool((categories < sets).all()), "a node of a tree points to categories that are not there")


def _check_children(left: Any, right: Any, own: Any, count: int) -> None:
    for child in (left.astype(np.int64), right.astype(np.int64)):
        _require(bool(((child > own) & (child < count)).all()), "a node of a tree points outside of the tree or back")


def _check_features(feature: Any, width: int) -> None:
    _require(bool(((feature >= 0) & (feature < width)).all()), "a node of a tree asks for a feature that is not there")


def _require(sound: bool, otherwise: str) -> None:
    if not sound:
        raise CorruptBlobError(otherwise, "Do not use this version; train and save the model again.")


def _objects(root: object) -> Iterator[Any]:
    """Everything that can be reached from an object through attributes and containers, each once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        each = waiting.pop()
        if each is None or isinstance(each, str | bytes | int | float | type) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, np.ndarray):
            waiting.extend(each.ravel().tolist() if each.dtype == object else ())
        elif isinstance(each, dict):
            waiting.extend([*each.keys(), *each.values()])
        elif isinstance(each, list | tuple | set | frozenset):
            waiting.extend(each)
        waiting.extend(getattr(each, "__dict__", {}).values())

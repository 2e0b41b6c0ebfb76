"""Checks the structure of an XGBoost model, whose compiled code follows the indices in it without looking.

A hand-made tree could make the process read outside of its memory, walk in a circle, or allocate any amount. So
every tree is checked before XGBoost sees it: each node has one parent, features and groups exist, lengths agree.
The format is told in https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import CorruptBlobError
from nemesyst.frameworks import ubjson

if TYPE_CHECKING:
    from collections.abc import Iterable

    Array = np.ndarray[Any, Any]

NODE_ARRAYS = {
    "left_children": "int32", "right_children": "int32", "parents": "int32", "split_indices": "int32",
    "split_conditions": "float32", "sum_hessian": "float32", "loss_changes": "float32",
    "default_left": "uint8", "split_type": "uint8",
}  # fmt: skip
"""One value for each node of a tree, and its dtype."""

_CATEGORIES = {"categories": "int32", "categories_nodes": "int32", "categories_segments": "int64"}
_CATEGORIES |= {"categories_sizes": "int64"}
_TREE = {*NODE_ARRAYS, *_CATEGORIES, "base_weights", "leaf_weights", "tree_param", "id"}
_MODEL = {"cats", "gbtree_model_param", "iteration_indptr", "tree_info", "trees"}
_DELETED = 2**31 - 1
"""The feature of a node that pruning has cut off."""

_MOST_CATEGORIES = 2**24
"""XGBoost's own limit."""

_ROOM = 64 * 2**20
"""Bytes of bit sets of categories that any model may have."""


@dataclass(frozen=True)
class Shape:
    """What a model takes and gives: numbers of features and of output groups."""

    features: int
    groups: int


def check_model(data: memoryview) -> Shape:
    """Raise unless XGBoost can load this model and predict with it safely.

    Raises:
        CorruptBlobError: It is not a model in UBJSON, or its parts do not fit each other; says which.
    """
    try:
        model = ubjson.read(data)
        version = _whole(model["version"])
        _require(len(version) == 3 and version[0] >= 3, f"version {model['version']}, expected 3 or later")
        return _check_learner(model["learner"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, IndexError) as error:
        told = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CorruptBlobError(f"not a model of XGBoost that can be used safely: {told}") from None


def trees_of(data: memoryview) -> list[dict[str, Any]]:
    """The trees of a model that was checked; none for a linear one."""
    booster = ubjson.read(data)["learner"]["gradient_booster"]
    return list(booster.get("gbtree", booster)["model"].get("trees", ()))


def linear_weights(data: memoryview) -> list[float]:
    """The weights of a linear model that was checked; none for trees."""
    return list(ubjson.read(data)["learner"]["gradient_booster"].get("model", {}).get("weights", ()))


def _check_learner(learner: dict[str, Any]) -> Shape:
    param, booster = learner["learner_model_param"], learner["gradient_booster"]
    shape = _shape(param)
    for field in ("feature_names", "feature_types"):
        names = learner.get(field, [])
        _require(all(isinstance(each, str) for each in names), f"{field} holds other things than text")
        _require(len(names) in (0, shape.features), f"{len(names)} {field} for {shape.features} features")
    _require(all(isinstance(each, str) for each in learner["attributes"].values()), "an attribute is no text")
    _check_objective(learner["objective"], param)
    kind, model = booster["name"], booster
    if kind == "dart":
        _require(_numbers(booster["weight_drop"]) == _numbers(booster["gbtree"]["model"]["tree_info"]), "weight_drop")
        model = booster["gbtree"]
    if kind == "gblinear":
        expected = (shape.features + 1) * shape.groups
        _require(_numbers(booster["model"]["weights"]) == expected, f"a linear model has {expected} weights")
    else:
        _require(kind in ("gbtree", "dart") and model["name"] == "gbtree", f"booster {kind!r}")
        _check_trees(model["model"], shape)
    return shape


def _shape(param: dict[str, str]) -> Shape:
    features, classes, targets = (int(param[f"num_{each}"]) for each in ("feature", "class", "target"))
    groups = max(classes, targets, 1)
    _require(0 < features < _DELETED, f"{features} features")
    _require(classes >= 0 and targets >= 0, "a negative number of classes or targets")
    scores = np.atleast_1d(json.loads(param["base_score"]))
    _require(scores.dtype.kind in "if" and len(scores) in (1, groups), f"{len(scores)} base scores for {groups} groups")
    _require(len(scores) == groups or groups < 2**16, f"{groups} groups")
    return Shape(features, groups)


def _check_objective(objective: dict[str, Any], param: dict[str, str]) -> None:
    _require(isinstance(objective["name"], str), "the objective has no name")
    for name, block in objective.items():
        if isinstance(block, dict):
            _require(all(isinstance(each, str) for each in block.values()), f"a value of {name} is no text")
    classes = objective.get("softmax_multiclass_param", {}).get("num_class", param["num_class"])
    _require(int(classes) == int(param["num_class"]), "the objective and the model have different numbers of classes")


def _check_trees(model: dict[str, Any], shape: Shape) -> None:
    _known(model, _MODEL)
    trees, groups = model["trees"], _whole(model["tree_info"])
    param, rounds = model["gbtree_model_param"], _whole(model["iteration_indptr"])
    _require(int(param["num_trees"]) == len(trees) == len(groups), "the number of trees differs from their groups'")
    _require(int(param["num_parallel_tree"]) >= 1, "num_parallel_tree is below 1")
    _require(bool(((groups >= 0) & (groups < shape.groups)).all()), "a tree belongs to a group that is not there")
    rising = len(rounds) > 0 and rounds[0] == 0 and rounds[-1] == len(trees) and bool((np.diff(rounds) >= 0).all())
    _require(rising, "iteration_indptr does not lead from 0 to the number of trees")
    _require([tree["id"] for tree in trees] == list(range(len(trees))), "the trees' ids are not 0, 1, 2, ...")
    sizes = [_check_tree(tree, shape) for tree in trees]
    if trees:
        _check_nodes(trees, np.array(sizes), shape)
    _check_encoder(model.get("cats", {}), shape)


def _check_tree(tree: dict[str, Any], shape: Shape) -> int:
    """Lengths and dtypes of one tree's arrays; its number of nodes."""
    _known(tree, _TREE)
    param = tree["tree_param"]
    nodes, vector = int(param["num_nodes"]), int(param.get("size_leaf_vector", "1"))
    _require(nodes > 0 and int(param["num_feature"]) == shape.features, "a tree is empty or has other features")
    _require(vector in (0, 1, shape.groups), f"a tree gives {vector} outputs, the model {shape.groups}")
    for name, dtype in NODE_ARRAYS.items():
        _typed(tree, name, dtype, nodes)
    _typed(tree, "base_weights", "float32", nodes * max(vector, 1))
    right, parents = tree["right_children"], tree["parents"]
    _require(int(parents[0]) in (-1, _DELETED), "the root has a parent")
    _require(bool(((parents[1:] >= 0) & (parents[1:] < nodes)).all()), "a parent is outside of the tree")
    leaves = np.flatnonzero(tree["left_children"] == -1)
    if vector > 1:  # the right child of a leaf says which row of the weights is its output
        _typed(tree, "leaf_weights", "float32", len(leaves) * vector)
        _require(bool(((right[leaves] >= 0) & (right[leaves] < len(leaves))).all()), "a leaf has no weights")
    else:
        _require("leaf_weights" not in tree, "a tree of one output has weights of leaves")
        _require(bool((right[leaves] == -1).all()), "a leaf has a right child")
    _check_categories(tree, nodes)
    return nodes


def _check_nodes(trees: list[dict[str, Any]], sizes: Array, shape: Shape) -> None:
    """Every node of every tree at once: one parent each, none for the root, and features that are there."""
    starts = np.cumsum(sizes) - sizes
    left, right, parents, feature = (
        np.concatenate([tree[name] for tree in trees]).astype(np.int64)
        for name in ("left_children", "right_children", "parents", "split_indices")
    )
    start, size = np.repeat(starts, sizes), np.repeat(sizes, sizes)
    alive = feature != _DELETED
    _require(bool((left[~alive] == -1).all()), "a node that was pruned has children")
    inner = np.flatnonzero(left != -1)
    _require(bool((feature[inner] < shape.features).all() and (feature[inner] >= 0).all()), "a feature is not there")
    seen = np.zeros(len(left), np.int64)
    for child in (left, right):
        local = child[inner]
        _require(bool(((local > 0) & (local < size[inner])).all()), "a node points outside of its tree, or to its root")
        children = local + start[inner]
        _require(bool(alive[children].all()), "a node points to one that was pruned")
        _require(bool((parents[children] == inner - start[inner]).all()), "a node and its parent do not agree")
        seen += np.bincount(children, minlength=len(seen))
    _require(bool((seen <= 1).all() and alive[starts].all()), "a node has two parents, or a root was pruned")


def _check_categories(tree: dict[str, Any], nodes: int) -> None:
    where = np.flatnonzero(tree["split_type"])
    _require(bool((tree["split_type"] <= 1).all()), "a split is neither numeric nor categorical")
    for name in ("categories_nodes", "categories_segments", "categories_sizes"):
        _typed(tree, name, _CATEGORIES[name], len(where))
    values, starts, sizes = tree["categories"], tree["categories_segments"], tree["categories_sizes"]
    _typed(tree, "categories", "int32", len(values))
    if not len(where) and not len(values):
        return
    _require(np.array_equal(tree["categories_nodes"], where), "categories belong to other nodes than the splits")
    whole = np.array_equal(starts, np.cumsum(sizes) - sizes) and int(sizes.sum()) == len(values)
    _require(bool((sizes > 0).all()) and whole, "the categories of the splits do not cover them")
    _require(bool(((values >= 0) & (values < _MOST_CATEGORIES)).all()), "a category is out of range")
    bits = np.maximum.reduceat(values, starts.astype(np.intp)).astype(np.int64) // 8 + 8
    _require(int(bits.sum()) < max(_ROOM, 512 * nodes), "the categories of a tree would take too much memory")


def _check_encoder(encoder: dict[str, Any], shape: Shape) -> None:
    """The categories of data frames, which XGBoost looks values up in."""
    _known(encoder, {"enc", "feature_segments", "sorted_idx"})
    columns, segments, order = (encoder.get(name, ()) for name in ("enc", "feature_segments", "sorted_idx"))
    if not len(columns):
        _require(not len(order) and not np.any(segments), "categories are ordered that are not there")
        return
    _require(len(columns) == shape.features, "there are categories of other features")
    counts = [_column_length(column) for column in columns]
    _require(np.array_equal(segments, np.cumsum([0, *counts])), "the segments of categories do not fit them")
    _require(len(order) == sum(counts), "the order of categories does not fit them")
    for begin, count in zip(segments, counts, strict=False):
        mine = np.sort(order[begin : begin + count])
        _require(np.array_equal(mine, np.arange(count)), "the order of categories is not one")


def _column_length(column: dict[str, Any]) -> int:
    values = column["values"]
    if "offsets" not in column:
        _known(column, {"type", "values"})
        _require(isinstance(column["type"], int) and isinstance(values, np.ndarray), "categories of no type")
        return len(values)
    _known(column, {"offsets", "values"})
    _require(values.dtype == np.int8, "categories that are no text")
    offsets = column["offsets"]
    if not len(offsets):
        _require(not len(values), "categories without a beginning")
        return 0
    fits = offsets[0] == 0 and offsets[-1] == len(values) and bool((np.diff(offsets) >= 0).all())
    _require(fits, "the text of categories does not fit its length")
    return len(offsets) - 1


def _typed(owner: dict[str, Any], name: str, dtype: str, length: int) -> None:
    array = owner[name]
    sound = isinstance(array, np.ndarray) and array.dtype.newbyteorder("=") == dtype and len(array) == length
    _require(sound, f"{name} of a tree is not {length} numbers of {dtype}")


def _whole(numbers: Any) -> Array:
    _require(all(type(each) is int for each in numbers) or isinstance(numbers, np.ndarray), "a number is not whole")
    return np.asarray(numbers, np.int64)


def _numbers(numbers: Any) -> int:
    sound = isinstance(numbers, np.ndarray) or all(type(each) in (int, float) for each in numbers)
    _require(sound, "a weight is no number")
    return len(numbers)


def _known(owner: dict[str, Any], names: Iterable[str]) -> None:
    if unknown := sorted(set(owner) - set(names)):
        raise ValueError(f"{unknown[0]!r} is not known to this Nemesyst, which cannot check it")


def _require(sound: bool, otherwise: str) -> None:
    if not sound:
        raise ValueError(otherwise)

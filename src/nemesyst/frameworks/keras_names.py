"""Names of the variables of a Keras model that are the same whenever the same code builds it.

Keras numbers the names that it gives (``dense``, ``dense_1``, ...) through the whole process, so the second model of a
kind has other paths than the first. Here each such name is numbered anew among its neighbours, in the order of the
model's layers; names that the user gave stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

from nemesyst.errors import ModelError

_NUMBERED = re.compile(r"(.+?)(?:_[0-9]+)?")


def check_built(model: Any) -> None:
    """Refuse a model whose variables are not there yet.

    Raises:
        ModelError: It has not been built.
    """
    if not model.built:
        raise ModelError(
            f"the model {model.name} has not been built, so its weights are not there yet",
            "Begin it with keras.Input(shape), or call it once on a batch: model(batch).",
        )


def variables_of(model: Any) -> dict[str, Any]:
    """Every variable of a built model by its name: weights, statistics and states of random generators.

    Raises:
        ModelError: It has not been built, or has no variables.
    """
    check_built(model)
    variables = list(model.variables)
    if not variables:
        raise ModelError(f"the model {model.name} has no variables", "Give it a layer that learns.")
    names = stable_names([each.path for each in variables], model.name, _stems(model))
    return dict(zip(names, variables, strict=True))


def stable_names(paths: list[str], root: str, stems: set[str]) -> list[str]:
    """The names for paths of variables, in their order.

    >>> stable_names(["net_3/dense_7/kernel", "net_3/mine_2/kernel", "net_3/dense_9/kernel"], "net_3", {"dense"})
    ['dense/kernel', 'mine_2/kernel', 'dense_1/kernel']
    """
    numbers: dict[tuple[str, str], dict[str, int]] = {}
    used: dict[str, int] = {}
    names = []
    for path in paths:
        parts = path.split("/")
        above = ""
        for part in parts[1 if len(parts) > 1 and parts[0] == root else 0 : -1]:
            above += _renumbered(part, above, numbers, stems) + "/"
        name = above + parts[-1]
        used[name] = used.get(name, 0) + 1  # nested models may hold layers of one name
        names.append(name if used[name] == 1 else f"{name}#{used[name]}")
    return names


def _renumbered(part: str, above: str, numbers: dict[tuple[str, str], dict[str, int]], stems: set[str]) -> str:
    found = _NUMBERED.fullmatch(part)
    stem = part if found is None else found[1]
    if stem not in stems and not any(stem.endswith(f"_{each}") for each in stems):  # forward_lstm is Keras' own too
        return part
    order = numbers.setdefault((above, stem), {})
    number = order.setdefault(part, len(order))
    return f"{stem}_{number}" if number else stem


def _stems(model: Any) -> set[str]:
    """The names that Keras gives to layers of these classes, without numbers."""
    layers: list[Any] = [model]
    seen = {id(model)}
    for layer in layers:  # grows as it goes
        held = getattr(layer, "_layers", None) or getattr(layer, "layers", None) or []
        inner = [each for each in held if id(each) not in seen]
        seen.update(map(id, inner))
        layers += inner
    return {_snake(type(layer).__name__) for layer in layers} | {"seed_generator"}


def _snake(name: str) -> str:
    """As Keras does it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def optimizer_variables(optimizer: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """The variables of an optimiser: its own by name, those that belong to a weight as ``weight/slot``."""
    flat = sorted(
        ((each.path.replace("/", "_"), name) for name, each in weights.items()), key=lambda pair: -len(pair[0])
    )
    used: dict[str, int] = {}
    named = {}
    for variable in optimizer.variables:
        owner = next((pair for pair in flat if variable.name.startswith(f"{pair[0]}_")), None)
        name = variable.name if owner is None else f"{owner[1]}/{variable.name[len(owner[0]) + 1 :]}"
        used[name] = used.get(name, 0) + 1
        named[name if used[name] == 1 else f"{name}#{used[name]}"] = variable
    return named

"""Arguments of stage functions: from the settings, typed by the function's signature."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from nemesyst.errors import ScriptError, SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nemesyst.stages.declare import Stage


def arguments_of(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a stage's function is called with beside ``run`` (and ``batch``).

    A value stands in ``settings`` under the argument's name, or under the function's name and then the
    argument's, which comes first.

    Raises:
        SettingsError: A value has the wrong type, or a required one is missing.
        ScriptError: The function does not take ``run`` (and ``batch``).
    """
    parameters = _own_parameters(stage)
    specific = settings.get(stage.name)
    values = {**settings, **specific} if isinstance(specific, Mapping) else dict(settings)
    arguments = {}
    for parameter in parameters:
        if parameter.name in values:
            arguments[parameter.name] = _typed(stage, parameter, values[parameter.name])
        elif parameter.default is inspect.Parameter.empty:
            raise SettingsError(
                f"{stage.name}: argument {parameter.name} has no value", f"Give --arg {parameter.name}=VALUE."
            )
        else:
            arguments[parameter.name] = parameter.default
    return arguments


def taken_by(stage: Stage) -> list[str]:
    """Names of the arguments that a stage's function takes beside ``run`` (and ``batch``)."""
    return [parameter.name for parameter in _own_parameters(stage)]


def _own_parameters(stage: Stage) -> list[inspect.Parameter]:
    signature = inspect.signature(stage.function)
    parameters = list(signature.parameters.values())
    taken = ["run", "batch"][: stage.positional]
    if len(parameters) < len(taken):
        raise ScriptError(
            f"{stage.name}{signature} must take {' and '.join(taken)}",
            f"Write def {stage.name}({', '.join(taken)}, ...).",
        )
    own = parameters[stage.positional :]
    hints = typing.get_type_hints(stage.function)
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.replace(annotation=hints.get(p.name, p.annotation)) for p in own if p.kind not in kinds]


def _typed(stage: Stage, parameter: inspect.Parameter, value: Any) -> Any:
    kind = parameter.annotation
    if kind is inspect.Parameter.empty:
        kind = type(parameter.default) if isinstance(parameter.default, bool | int | float | str) else Any
    try:
        adapter = TypeAdapter(kind)
        try:
            return adapter.validate_python(value)
        except ValidationError:
            if isinstance(value, str):  # a list or an object from the command line
                return adapter.validate_python(json.loads(value))
            raise
    except (ValidationError, json.JSONDecodeError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else f"expected {_name(kind)}"
        raise SettingsError(
            f"{stage.name}: argument {parameter.name}={value!r}: {reason}",
            f"It is declared as {_name(kind)}; lists and tables are written as JSON, such as '[1, 2]'.",
        ) from None
    except PydanticSchemaGenerationError:
        return value


def _name(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))


def check_known(given: Sequence[str], functions: Sequence[Callable[..., Any]]) -> None:
    """Refuse a ``--arg`` that no function takes.

    Raises:
        SettingsError: With the nearest names.
    """
    names = {function.__name__ for function in functions}
    known = {name for function in functions for name in inspect.signature(function).parameters}
    known -= {"run", "_run", "batch", "_batch"}
    for name in given:
        first, _, rest = name.partition(".")
        if (rest and (first not in names or rest not in known)) or (not rest and first not in known):
            raise SettingsError(f"--arg {name}: no function takes it", nearest(rest or first, sorted(known)))

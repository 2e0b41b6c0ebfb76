"""Parameters of pipelines: each that is given must be asked for somewhere; and as they are typed in a shell."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bson import json_util
from bson.errors import BSONError

from nemesyst.database import parse_cell
from nemesyst.errors import FeedError, SettingsError, nearest

_JSON = ("[", "{", '"')


def check_params(where: str, params: Any) -> Mapping[str, Any]:
    """The values of a pipeline's parameters, by name.

    Raises:
        FeedError: They are something else.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise FeedError(f"{where}: params={params!r} is not a dict", 'Write params={"site": 12}.')
    return params


def check_used(params: Mapping[str, Any], *pipelines: Any) -> None:
    """Refuse parameters that no pipeline asks for: a name that is misspelt would change nothing, silently.

    Raises:
        FeedError: There is one.
    """
    asked = sorted({name for stages in pipelines for name in asked_for(stages)})
    for name in params:
        if name in asked:
            continue
        if not asked:
            remedy = f'Write {{"$param": "{name}"}} where its value belongs, or leave it out.'
        else:
            remedy = f"Mend its name, or leave it out; {nearest(str(name), asked)}"
        raise FeedError(f"Feed: params: the pipeline does not ask for {name!r}", remedy)


def asked_for(value: Any) -> Iterator[str]:
    """Names of the parameters in some stages.

    >>> list(asked_for([{"$match": {"site": {"$param": "site"}}}]))
    ['site']
    """
    if isinstance(value, Mapping):
        if set(value) == {"$param"}:
            yield str(value["$param"])
            return
        for inner in value.values():
            yield from asked_for(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from asked_for(inner)


def parameter(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE`` on a command line.

    A value that begins with a bracket, a brace or a double quote is JSON, MongoDB's extended JSON too; ``null`` is
    none. Any other is a number, true or false, a date of ISO 8601, or else a text.

    Raises:
        SettingsError: There is no name, or a value is not JSON that begins like it.

    >>> parameter("site=12"), parameter("units=[1, 2]"), parameter('name="12"')
    (('site', 12), ('units', [1, 2]), ('name', '12'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise SettingsError(f"--param {text}: expected NAME=VALUE", "Such as --param site=12.")
    if value != "null" and not value.startswith(_JSON):
        return name, parse_cell(value)
    try:
        return name, json.loads(value, object_hook=json_util.object_hook)
    except json.JSONDecodeError as error:
        why = f"{error.msg}, column {error.colno}"
    except (BSONError, TypeError, ValueError, ArithmeticError, RecursionError) as error:  # such as {"$oid": "x"}
        why = f"{type(error).__name__} {error}"
    raise SettingsError(
        f"--param {name}: {value:.60} begins like JSON, and is none: {why}",
        f"""Such as --param '{name}=[1, 2]' or '{name}={{"$date": "2026-01-31T00:00:00Z"}}'; a text goes in double """
        f"""quotes: '{name}="[1]"'.""",
    )

"""What the server says of a single row, as a reason for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DUPLICATE = 11000
"""The server's code for a key that is there already."""


def about_id(error: Mapping[str, Any]) -> bool:
    """Whether a duplicate is one of ``_id``, not of another unique index."""
    pattern = error.get("keyPattern")
    return list(pattern) == ["_id"] if pattern else "index: _id_" in error.get("errmsg", "")


def reason(error: Mapping[str, Any]) -> str:
    """What is told of a row that the server refuses."""
    if error.get("code") == 121:
        return f"it breaks the collection's validator{_broken(error.get('errInfo', {}).get('details', {}))}"
    if error.get("code") == DUPLICATE:
        return f"another row has the same {', '.join(error.get('keyPattern', {'?': 1}))}, which is a unique index"
    return f"the database refuses it: {error.get('errmsg', '')}"[:160]


def _broken(details: Mapping[str, Any]) -> str:
    """Name the fields that a ``$jsonSchema`` complains about."""
    rules = details.get("schemaRulesNotSatisfied", ())
    missing = [name for rule in rules for name in rule.get("missingProperties", ())]
    wrong = [item["propertyName"] for rule in rules for item in rule.get("propertiesNotSatisfied", ())]
    said = [f"missing {', '.join(missing)}"] if missing else []
    said += [f"wrong {', '.join(wrong)}"] if wrong else []
    return f": {'; '.join(said)}" if said else ""

"""The grammar of model references: one place for the whole library."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nemesyst.errors import SettingsError

LATEST = "latest"
"""The selector of the highest number; no alias may be called so."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}"
_ENTITY = r"[^\[\]\x00-\x1f\x7f\ud800-\udfff]{1,200}"
_ALIAS = r"[A-Za-z][A-Za-z0-9._-]{0,99}"
_REFERENCE = re.compile(rf"(?P<name>{_NAME})(?:\[(?P<entity>{_ENTITY})\])?(?:@(?P<selector>.*))?", re.DOTALL)
_GRAMMAR = "Write name, name@3, name@champion or name@latest; with an entity name[site12]@champion."


@dataclass(frozen=True)
class Reference:
    """What ``air[site12]@champion`` means.

    Attributes:
        name: The model's name: letters, digits and ``. _ - /``, a letter or digit first.
        entity: The device or site, or None.
        selector: A version's number, an alias, or ``"latest"``.

    >>> Reference.parse("air[site12]@3")
    Reference(name='air', entity='site12', selector=3)
    >>> str(Reference.parse("air"))
    'air@latest'
    """

    name: str
    entity: str | None = None
    selector: int | str = LATEST

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference; a bare name means its latest version.

        Raises:
            SettingsError: It does not follow the grammar.
        """
        found = _match(text)
        selector = found["selector"]
        return cls(found["name"], found["entity"], LATEST if selector is None else _selector(text, selector))

    @classmethod
    def parse_target(cls, text: str) -> Reference:
        """Read the name, with or without an entity, that a new version is to be saved under.

        Raises:
            SettingsError: It does not follow the grammar, or selects a version.
        """
        found = _match(text)
        if found["selector"] is not None:
            raise SettingsError(
                f"model reference {text!r}: a new version gets its own number", "Save under the name alone."
            )
        return cls(found["name"], found["entity"])

    @property
    def path(self) -> str:
        """Name and entity, such as ``"air[site12]"``."""
        return self.name if self.entity is None else f"{self.name}[{self.entity}]"

    def __str__(self) -> str:
        return f"{self.path}@{self.selector}"


def check_alias(text: object) -> str:
    """Check the name of an alias that is to be set.

    Raises:
        SettingsError: It does not follow the grammar, or is ``latest``.
    """
    if not isinstance(text, str) or not re.fullmatch(_ALIAS, text):
        raise SettingsError(
            f"alias {text!r}: expected a letter, then letters, digits and . _ -", "Call it champion, for example."
        )
    if text == LATEST:
        raise SettingsError(
            f"alias {LATEST!r} always means the highest number and cannot be set", "Promote to another alias."
        )
    return text


def _match(text: object) -> re.Match[str]:
    found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise SettingsError(f"model reference {text!r}: not a name, with or without [entity] and @selector", _GRAMMAR)
    return found


def _selector(text: str, selector: str) -> int | str:
    if re.fullmatch(r"[1-9][0-9]{0,8}", selector):
        return int(selector)
    if re.fullmatch(_ALIAS, selector):
        return selector
    raise SettingsError(
        f"model reference {text!r}: {selector!r} is neither a number from 1 nor an alias (which starts with a letter)",
        _GRAMMAR,
    )

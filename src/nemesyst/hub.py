"""The hub that users hold: a database, its feeds and its models behind one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemesyst.settings import Settings


class Hub:
    """To be written."""


def connect_settings(settings: Settings) -> Hub:
    """Open the hub that settings name."""
    raise AssertionError(settings)

"""Why a server does not answer: whoever started it can look at its disk and its log.

The driver only knows that a connection broke. The embedded server registers itself here while it is in use, so that an
error about its address can say more.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemesyst.errors import NemesystError


class Explainer(NamedTuple):
    """A server of ours.

    Attributes:
        place: Its host and port, as the driver's errors name it.
        ask: Gives the error that says why it is gone, or None if it knows no reason.
    """

    place: str
    ask: Callable[[], NemesystError | None]


_known: list[Explainer] = []


def register(explainer: Explainer) -> Callable[[], None]:
    """Let a server be asked from now on; call what is returned to end that."""
    _known.append(explainer)

    def forget() -> None:
        _known[:] = [other for other in _known if other is not explainer]

    return forget


def explain(text: str) -> NemesystError | None:
    """Why the server that a driver's message names is gone, if that server knows."""
    named = [each for each in list(_known) if re.search(rf"{re.escape(each.place)}(?!\d)", text)]
    asked = (each.ask() for each in named)
    return next((error for error in asked if error is not None), None)

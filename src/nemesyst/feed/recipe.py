"""How another process opens a feed again."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, Protocol

from nemesyst.errors import FeedError

if TYPE_CHECKING:
    from collections.abc import Callable


class Reconnects(Protocol):
    """What connects to the same database from another process; pickled without its secrets."""

    def connect(self) -> Any:
        """A connection of that process."""


class Recipe:
    """How another process opens a feed again; it can be pickled, and the pickle holds no secret.

    Args:
        reconnect: How to connect there.
        build: Makes the feed there: ``build(connection, worker, workers, **state)``; a function of a module.
        state: What ``build`` needs to know: the specification, the plan, the part, the position. Pickled as it is.
    """

    def __init__(self, reconnect: Reconnects, build: Callable[..., Any], /, **state: Any) -> None:
        self._reconnect = reconnect
        self._build = build
        self._state = state

    def open(self, worker: int = 0, workers: int = 1) -> Any:
        """Connect, and open the share of a worker: batches ``worker``, ``worker + workers``, ... of each epoch.

        Raises:
            SettingsError: This process has no credentials for the database; other errors as in ``hub.feed``.
        """
        return self._build(self._reconnect.connect(), worker, workers, **self._state)

    def __getstate__(self) -> dict[str, Any]:
        for name, value in self._state.items():
            try:
                pickle.dumps(value)
            except Exception as error:  # noqa: BLE001 - each object refuses in its own way
                raise FeedError(
                    f"a feed for another process: its {name} cannot be sent there: {error}",
                    "Define its functions at the top of a module (no lambda), or start the processes by fork: "
                    'DataLoader(..., multiprocessing_context="fork").',
                ) from None
        return self.__dict__

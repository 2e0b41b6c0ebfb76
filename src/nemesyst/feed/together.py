"""Doing a few things at once that each wait for a server."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def together(*works: Callable[[], Any]) -> list[Any]:
    """What each function returns; all but the last one run in threads that have ended by then.

    Raises whatever the first of them raises, in the order of the arguments, once all have ended.
    """
    futures = [Future[Any]() for _ in works]
    threads = [
        Thread(target=_work, args=each, name="nemesyst-feed-together", daemon=True)
        for each in zip(works[:-1], futures, strict=False)
    ]
    for thread in threads:
        thread.start()
    _work(works[-1], futures[-1])
    for thread in threads:
        thread.join()
    return [future.result() for future in futures]


def _work(work: Callable[[], Any], future: Future[Any]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
        future.set_exception(error)

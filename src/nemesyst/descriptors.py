"""Descriptors that a forked child must not keep: it would hold a lock, or a pipe open, that it knows nothing of."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_passing: set[int] = set()
"""Descriptors that are open for a while: a child that is forked meanwhile closes them."""

_forking = threading.RLock()
"""Held during a fork, and while a descriptor is open but not yet, or no longer, among those."""


def passed(opened: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """Open descriptors for :func:`passing`, so that no child is forked before they are known as such."""
    with _forking:
        descriptors = opened()
        _passing.update(descriptors)
    return descriptors


@contextmanager
def passing(descriptor: int) -> Iterator[None]:
    """Close a descriptor of :func:`passed` at the end; every child that is forked meanwhile closes it, too."""
    try:
        yield
    finally:
        with _forking:
            if descriptor in _passing:  # not in a child that was forked inside, which has closed it
                _passing.discard(descriptor)
                os.close(descriptor)


def _before_fork() -> None:
    _forking.acquire()


def _after_fork() -> None:
    _forking.release()


def _forget_in_child() -> None:
    global _forking  # noqa: PLW0603 - the child's own: who holds the old one is not here to release it
    _forking = threading.RLock()
    for descriptor in _passing:
        with suppress(OSError):
            os.close(descriptor)
    _passing.clear()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_forget_in_child)

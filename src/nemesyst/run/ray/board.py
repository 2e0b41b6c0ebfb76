"""What the processes of a cluster have in common: words to those that run, and what ranks tell."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATIENCE = 20.0
"""How long a question waits on the board for its answer, in s; then it is asked again."""


class Board:
    """An actor, one for an executor. Every job has a ticket."""

    def __init__(self) -> None:
        self._words: dict[str, list[str]] = {}
        self._told: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
        self._kept: dict[str, Mapping[str, Any]] = {}
        self._news = asyncio.Condition()

    async def ask(self, ticket: str, word: str) -> None:
        """Leave a word for a job: ``interrupt``, ``kill``."""
        async with self._news:
            self._words.setdefault(ticket, []).append(word)
            self._news.notify_all()

    async def asked(self, ticket: str, seen: int) -> list[str]:
        """The words for a job after the first ``seen``; waits for one, but not for ever."""
        return await self._wait(lambda: self._words.get(ticket, [])[seen:], PATIENCE)

    async def tell(self, ticket: str, rank: int, messages: Sequence[Mapping[str, Any]]) -> None:
        """Leave what a rank has to say."""
        async with self._news:
            self._told.setdefault(ticket, []).extend((rank, message) for message in messages)
            self._news.notify_all()

    async def hear(self, ticket: str, seconds: float) -> list[tuple[int, Mapping[str, Any]]]:
        """What the ranks of a job have said since; waits for something, at most so long."""
        await self._wait(lambda: self._told.get(ticket, []), seconds)
        return self._told.pop(ticket, [])

    async def keep(self, ticket: str, description: Mapping[str, Any]) -> None:
        """Keep a job's description for its ranks; it holds secrets, which stay in the memory of this process."""
        self._kept[ticket] = description

    async def kept(self, ticket: str) -> Mapping[str, Any]:
        """The description."""
        return self._kept[ticket]

    async def forget(self, ticket: str) -> None:
        """The job is over."""
        for drawer in (self._told, self._kept):
            drawer.pop(ticket, None)

    async def _wait(self, look: Any, seconds: float) -> list[Any]:
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(look)
        except TimeoutError:
            return []
        return list(look())

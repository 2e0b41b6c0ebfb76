"""A proxy that holds back every byte for a while, in both directions, and passes on as much at a time as came."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

_PIECE = 1 << 20


def delay(port: int, target: int, seconds: float) -> None:
    """Listen on ``port`` of this machine and pass on to ``target``, so many seconds later; runs until it is ended."""
    asyncio.run(_serve(port, target, seconds))


async def _serve(port: int, target: int, seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", target, limit=_PIECE)
        with suppress(ConnectionError):
            await asyncio.gather(_pass_on(reader, there[1], seconds), _pass_on(there[0], writer, seconds))

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=_PIECE)
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    held: deque[tuple[float, bytes]] = deque()
    more = asyncio.Event()

    async def send() -> None:
        while True:
            while not held:
                more.clear()
                await more.wait()
            due, data = held.popleft()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    sending = asyncio.create_task(send())
    while True:
        data = await reader.read(_PIECE)
        held.append((loop.time() + seconds, data))
        more.set()
        if not data:
            break
    await sending

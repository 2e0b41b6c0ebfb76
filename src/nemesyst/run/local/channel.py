"""Messages over a Unix socket: JSON values behind their length, and descriptors that go along."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEAD = struct.Struct("!Q")
_MOST_DESCRIPTORS = 2


def send(channel: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send a message.

    Raises:
        OSError: The other end is gone.
    """
    data = json.dumps(message).encode()
    head = _HEAD.pack(len(data))
    if descriptors:
        sent = socket.send_fds(channel, [head], descriptors)
        head = head[sent:]
    channel.sendall(head + data)


def receive(channel: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its descriptors; None at the end of all."""
    try:
        head, descriptors, _, _ = socket.recv_fds(channel, _HEAD.size, _MOST_DESCRIPTORS)
        head += _exactly(channel, _HEAD.size - len(head)) if head else b""
        if len(head) < _HEAD.size:
            return None, descriptors
        (length,) = _HEAD.unpack(head)
        data = _exactly(channel, length)
    except OSError:
        return None, []
    return (json.loads(data) if len(data) == length else None), descriptors


def _exactly(channel: socket.socket, size: int) -> bytes:
    """So many bytes, or what came before the end."""
    parts = []
    while size > 0 and (part := channel.recv(min(size, 1 << 20))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

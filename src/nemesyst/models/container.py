"""The file that models travel in: an index, then contents, each verified by its BLAKE3.

    bytes   what
    16      ``nemesyst models`` and the number of this format, 1
    8       length of the index, little-endian
    32      BLAKE3 of the index
    ...     the index: JSON, ``{"versions": [...], "contents": [{"digest": hex, "size": bytes}, ...]}``
    ...     the contents, one after the other, in the order of the index, without gaps, up to the end of the file

There are no names of files in it, and nothing in it is run.
"""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

from blake3 import blake3

from nemesyst.errors import CorruptBlobError, RecordError
from nemesyst.types import Stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

MAGIC = b"nemesyst models\x01"

_PIECE = 1 << 20
_DEAD = 60.0
"""Seconds for which a part was not written to before anybody looks whether its writer is dead."""
_LONGEST = 1 << 30
"""Bytes of an index at most: about a million versions."""


@dataclass(frozen=True)
class Index:
    """What a file says that it holds.

    Attributes:
        versions: Records, as JSON values.
        contents: Digest and size of each content, in the order of the file.
    """

    versions: Sequence[Mapping[str, Any]]
    contents: Sequence[Stored]


def write(path: Path, index: Index, pieces: Callable[[int], Iterable[bytes]]) -> int:
    """Write a file, whole or not at all; its bytes.

    Args:
        path: Where; a file that is there is replaced.
        index: What it holds.
        pieces: The verified bytes of a content by its number.

    Raises:
        RecordError: The file cannot be written.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    contents = [stored._asdict() for stored in index.contents]
    text = json.dumps({"versions": index.versions, "contents": contents}, allow_nan=False).encode()
    _clear(path)
    try:
        try:
            with part.open("xb") as file:
                _lock(file.fileno())
                file.write(MAGIC + len(text).to_bytes(8, "little") + blake3(text).digest() + text)
                for number in range(len(index.contents)):
                    for piece in pieces(number):
                        file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RecordError(f"{path} cannot be written: {error.strerror or error}", "Check the folder.") from error
    return size


def _lock(descriptor: int) -> bool:
    """Lock a part while its writer lives; whether that could be done."""
    try:
        import fcntl  # here: other systems lack it
    except ImportError:
        return False
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _clear(path: Path) -> None:
    """Delete the parts of this file whose writers were killed."""
    ours = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.part")
    with suppress(OSError):
        for part in path.parent.iterdir():
            if ours.fullmatch(part.name) and time.time() - part.lstat().st_mtime > _DEAD:
                with part.open("rb") as file:
                    if _lock(file.fileno()):
                        part.unlink(missing_ok=True)


def read_index(file: BinaryIO, path: Path) -> Index:
    """Read and verify the index of a file; the file is then at its first content.

    Raises:
        CorruptBlobError: It is no such file, or not what was written: cut, longer, changed.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(len(MAGIC) + 40)
    length = int.from_bytes(head[16:24], "little")
    if head[:16] != MAGIC:
        raise _damaged(path, "it does not begin like a file of models (format 1)")
    if length > min(_LONGEST, size - len(head)):
        raise _damaged(path, f"its index is to be {length} bytes, and the file has {size}")
    text = file.read(length)
    if blake3(text).digest() != head[24:56]:
        raise _damaged(path, "its index is not the one that was written")
    try:
        said = json.loads(text)
        contents = [Stored(*_content(each)) for each in said["contents"]]
        versions = [dict(each) for each in said["versions"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise _damaged(path, "its index is none") from None
    expected = len(head) + length + sum(content.size for content in contents)
    if expected != size:
        raise _damaged(path, f"it has {size} bytes, and its index says {expected}")
    return Index(versions, contents)


def read_content(file: BinaryIO, path: Path, content: Stored) -> Iterator[bytes]:
    """The next content, piece by piece; it is verified when the last piece has been taken.

    Raises:
        CorruptBlobError: It is not what was written.
    """
    hasher, left = blake3(), content.size
    while left:
        piece = file.read(min(_PIECE, left))
        if not piece:
            raise _damaged(path, "it was cut while it was read")
        hasher.update(piece)
        left -= len(piece)
        yield piece
    if (found := hasher.hexdigest()) != content.digest:
        raise _damaged(path, f"a content is to have BLAKE3 {content.digest}, and has {found}")


def _content(said: Any) -> tuple[str, int]:
    digest, size = said["digest"], said["size"]
    if not isinstance(digest, str) or len(digest) != 64 or isinstance(size, bool) or not isinstance(size, int):
        raise TypeError(said)
    if size < 0:
        raise ValueError(said)
    return digest, size


def _damaged(path: Path, how: str) -> CorruptBlobError:
    return CorruptBlobError(f"{path} is no file of models, or a damaged one: {how}", "Export it again.")

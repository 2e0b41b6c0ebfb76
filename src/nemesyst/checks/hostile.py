"""Damaged and hostile bytes: what an adapter must make of them."""

from __future__ import annotations

import pickle
import tempfile
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.checks.case import CheckError, require
from nemesyst.errors import NemesystError

if TYPE_CHECKING:
    from nemesyst.checks.case import Case

_MOST_MEMORY = 64 * 1024 * 1024
"""Bytes that reading a hostile file of a few bytes may take on the way to refusing it."""

_TERABYTES = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
_OVERLAP = (
    b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
)
_TWICE = b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'


def refuses_what_is_cut(case: Case) -> None:
    """Wherever a file ends too early, and the model to load into stays as it was."""
    data, into = case.dump(case.make()), case.make()
    before = case.state(into)
    for end in sorted({0, 1, 7, 8, 9, len(data) // 3, len(data) // 2, len(data) - 1}):
        require(case.refuses(data[:end], into), f"it loads {end} of {len(data)} bytes")
    require(case.state(into) == before, "a refused load changed the model")


def survives_flipped_bits(case: Case) -> None:
    """A flipped bit in a number cannot be seen here (the blob's digest does that); nothing else may happen."""
    data, into = case.dump(case.make()), case.target()
    places = [case.random.randrange(min(len(data), 2048)) for _ in range(24)]
    for place in [*places, *(case.random.randrange(len(data)) for _ in range(8))]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << case.random.randrange(8)
        try:
            case.load(bytes(damaged), into)
        except NemesystError:
            continue
        except Exception as error:
            raise CheckError(f"a flipped bit in byte {place} raised {type(error).__name__}: {error}") from error


def refuses_hostile_bytes(case: Case) -> None:
    """Without running what they bring, and without taking the memory that they claim."""
    into = case.target()
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder) / "marker"
        for name, data in _collection(str(marker), case.random.randbytes(4096)).items():
            tracemalloc.start()
            try:
                refused = case.refuses(data, into)
                most = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            require(refused, f"it loads {name}")
            require(most < _MOST_MEMORY, f"refusing {name} took {most} bytes of memory")
        require(not marker.exists(), "a pickle was run")


HOSTILE = (refuses_what_is_cut, survives_flipped_bits, refuses_hostile_bytes)


def _collection(marker: str, noise: bytes) -> dict[str, bytes]:
    bomb = pickle.dumps(_Bomb(marker))
    return {
        "nothing": b"",
        "zeros": bytes(64),
        "a header of 2^64 bytes": b"\xff" * 64,
        "a header that claims terabytes": _framed(_TERABYTES),
        "tensors that overlap": _framed(_OVERLAP) + bytes(12),
        "a name that stands twice": _framed(_TWICE),
        "a shape of a million axes": _framed(_axes(1_000_000)),
        "deep JSON": _framed(b"[" * 100_000),
        "text that is not UTF-8": _framed(b'{"\xff\xfe":1}'),
        "a pickle": bomb,
        "a framed pickle": _framed(bomb),
        "noise": noise,
    }


def _axes(count: int) -> bytes:
    return b'{"a":{"dtype":"F32","shape":[' + b"9," * (count - 1) + b'9],"data_offsets":[0,0]}}'


def _framed(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


class _Bomb:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")

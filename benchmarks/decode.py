"""Time for a row from the bytes of a reply to arrays: the decoder beside ``bson`` with NumPy, PyMongoArrow and a copy.

    python benchmarks/decode.py --megabytes 1 --rounds 7

No server is needed: a reply's batch is built here, of about the size that the feed asks for. The ways take turns, and
the table shows medians over the rounds, in ns a row of the processor's time, so that other work on the machine matters
little. ``copy`` is the time to copy the bytes; for lists of doubles
``doubles copied`` reads as many doubles at such distances and does nothing else, the least that any decoder does.
PyMongoArrow is measured if it is installed.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import bson
import numpy as np

from nemesyst.feed.decode import Decoder

Rows = list[dict[str, Any]]
Way = Callable[[], object]
NUMBERS = ["unit", "site", "air", "power", "count"]
RANDOM = np.random.default_rng(0)


def telemetry(count: int) -> Rows:
    """Rows of 8 fields and an ``_id``, all of one layout."""
    start = datetime(2026, 1, 1)  # noqa: DTZ001 - BSON's dates are UTC
    air, power = RANDOM.normal(3, 1, count).tolist(), RANDOM.normal(600, 50, count).tolist()
    return [
        {
            "_id": bson.ObjectId(),
            "unit": i % 50,
            "t": start + timedelta(seconds=i),
            "site": i % 7,
            "air": air[i],
            "power": power[i],
            "door": i % 11 == 0,
            "state": "cooling",
            "count": i,
        }
        for i in range(count)
    ]


def mixed(count: int) -> Rows:
    """The same with whole numbers stored as doubles and the other way round, missing fields, texts of any length."""
    rows = telemetry(count)
    for i, row in enumerate(rows):
        for name, odds in zip(NUMBERS, RANDOM.random(5).tolist(), strict=True):
            if odds < 0.05:
                del row[name]
            elif odds < 0.3:
                row[name] = int(row[name]) if isinstance(row[name], float) else float(row[name])
        row["state"] = ("on", "off", "cooling", "defrosting")[i * 7 % 4]
    return rows


def lists(count: int) -> Rows:
    """Images of 784 pixels as most programs store them."""
    return [
        {"_id": i, "image": pixels, "label": i % 10} for i, pixels in enumerate(RANDOM.random((count, 784)).tolist())
    ]


def mixed_lists(count: int) -> Rows:
    """The same from a JavaScript client: whole numbers are int32."""
    rows = lists(count)
    for row in rows:
        row["image"] = [0 if pixel < 0.7 else pixel for pixel in row["image"]]
    return rows


def packed(count: int) -> Rows:
    """Images of 784 bytes as ``hub.put`` stores them."""
    pixels = RANDOM.integers(0, 255, (count, 784), "uint8")
    return [
        {"_id": i, "image": {"dtype": "uint8", "shape": [28, 28], "data": pixels[i].tobytes()}, "label": i % 10}
        for i in range(count)
    ]


def loose(count: int) -> Rows:
    """The same with a text of any length before it."""
    return [{"name": "x" * (i % 9), **row} for i, row in enumerate(packed(count))]


def batch_of(documents: list[bytes]) -> bytes:
    """The BSON array that a reply holds."""
    content = b"".join(b"\x03%d\0" % i + document for i, document in enumerate(documents))
    return (len(content) + 5).to_bytes(4, "little") + content + b"\0"


def objects(documents: bytes, names: list[str]) -> Any:
    """What one does without a decoder."""
    rows = bson.decode_all(documents)
    if names == ["image"]:
        if isinstance(rows[0]["image"], dict):
            return np.stack([np.frombuffer(row["image"]["data"], np.uint8) for row in rows])
        return np.array([row["image"] for row in rows], np.float32)
    return np.array([[row.get(name, np.nan) for name in names] for row in rows], np.float32)


def doubles(batch: bytes, rows: int) -> Way:
    """Read 784 doubles of each row from equal distances, as if they were zeros; nothing is looked at."""
    out = np.empty((rows, 784), np.float32)
    stride = (len(batch) - 16) // rows
    zeros: Any = np.ndarray((rows, 784), "<f8", bytes(len(batch)), 8, (stride, 12))
    return lambda: np.copyto(out, zeros, casting="unsafe")


def arrow(documents: bytes) -> Way | None:
    try:
        from pymongoarrow.context import PyMongoArrowContext  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None

    def way() -> Any:
        context = PyMongoArrowContext(None, codec_options=bson.CodecOptions())
        context.process_bson_stream(documents)
        return context.finish()

    return way


def ways(make: Callable[[int], Rows], size: float) -> Iterator[tuple[str, int, Way]]:
    """Name, rows and action of each way for one kind of rows."""
    length = len(bson.encode(make(1)[0]))
    count = max(1, int(size * 1e6 / length))
    encoded = [bson.encode(row) for row in make(count)]
    batch, documents = batch_of(encoded), b"".join(encoded)
    names = NUMBERS if make in (telemetry, mixed) else ["image"]
    everything, numbers = Decoder(None), Decoder(names)
    yield "columns of all fields", count, lambda: everything.decode(batch).columns
    if make in (packed, loose):
        yield "the image alone", count, lambda: numbers.decode(batch).column("image")
    else:
        yield (
            f"float32 of {len(names)} field{'s' * (len(names) > 1)}",
            count,
            lambda: numbers.decode(batch).stack(names, fill=np.nan),
        )
    yield "bson.decode_all and NumPy", count, lambda: objects(documents, names)
    tables = arrow(documents)
    if tables is not None:
        yield "PyMongoArrow", count, tables
    if make is lists:
        yield "doubles copied", count, doubles(batch, count)
    yield "copy", count, lambda: bytearray(batch)


def measure(found: list[tuple[str, int, Way]], rounds: int) -> dict[str, float]:
    """Median ns of the processor's time a row of each way; none of them uses other threads."""
    times: dict[str, list[float]] = {name: [] for name, _, _ in found}
    for _ in range(rounds):
        for name, count, way in found:
            way()
            repeats, start = 0, time.thread_time()
            while repeats < 3 or time.thread_time() - start < 0.02:
                way()
                repeats += 1
            times[name].append((time.thread_time() - start) / repeats / count * 1e9)
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1.0, help="size of a batch")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)  # as a reader does: M_MMAP_THRESHOLD, so that memory is used again
    libc.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
    for make in (telemetry, mixed, lists, mixed_lists, packed, loose):
        found = list(ways(make, given.megabytes))
        print(f"\n{make.__name__}: {found[0][1]:,} rows")
        for name, spent in measure(found, given.rounds).items():
            print(f"  {name:30} {spent:12,.1f} ns a row  {1e9 / spent:14,.0f} rows/s")


if __name__ == "__main__":
    main()

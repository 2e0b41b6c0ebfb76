"""A plain reference of a feed: PyMongo, one cursor, document by document, loops; and documents and pipelines for it."""

import math
import struct
from datetime import datetime

import bson
import numpy as np
import xxhash
from bson import Decimal128, ObjectId

MASK = 2**64 - 1


def rows_of(collection, stages=()):
    """The documents that a pipeline yields over a collection, in the order of ``_id``."""
    return list(collection.aggregate([{"$sort": {"_id": 1}}, *stages]))


def value_of(row, name):
    """A field by its dotted name; None where it is missing."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def arrays(rows, inputs, targets=(), missing="error"):
    """What a feed makes of rows: dicts of arrays of one row each."""
    if missing == "drop":
        rows = [row for row in rows if all(value_of(row, name) is not None for name in (*inputs, *targets))]
    fill = math.nan if missing == "nan" else missing
    # one target of whole numbers or booleans is of classes, whatever stands for what is missing elsewhere
    whole = len(targets) == 1 and all(isinstance(value_of(row, targets[0]), int) for row in rows)
    return [
        {
            "x": _stacked(row, inputs, fill),
            **(
                {"y": np.int64(value_of(row, targets[0])) if whole else _stacked(row, targets, fill)} if targets else {}
            ),
        }
        for row in rows
    ]


def _stacked(row, names, fill):
    values = [value_of(row, name) for name in names]
    return np.array([fill if value is None else value for value in values], np.float32)


def names_of(samples):
    """Bytes that samples are known by, sorted; samples are dicts of arrays of one row."""
    return sorted(b"|".join(name.encode() + np.asarray(one[name]).tobytes() for name in sorted(one)) for one in samples)


def samples_of(batches):
    """The rows of batches as samples."""
    return [
        {name: values[row] for name, values in batch.items()}
        for batch in batches
        for row in range(len(next(iter(batch.values()))))
    ]


def part_of(split, row):
    """The part of a row, None for none: as the documentation of ``nm.Split`` says, one row at a time."""
    share = share_of(value_of(row, split.by or "_id")) if split.validation or split.test else 1.0
    by_share = "test" if share < split.test else "validation" if share < split.test + split.validation else "train"
    chosen = by_share
    if split.on is not None:
        chosen = _in_time(split, by_share, value_of(row, split.on))
    named = None if split.field is None else value_of(row, split.field)
    return chosen if named in (None, "train") else named


def _in_time(split, by_share, time):
    period = "train"
    for name, begin in (("validation", split.validation_from), ("test", split.test_from)):
        if begin is not None and time >= begin:
            period = name
    if not (split.validation or split.test):
        return period
    begins = {"validation": split.validation_from, "test": split.test_from}
    own = by_share if begins.get(by_share) is not None else "train"
    if period == own:
        return by_share
    if by_share == "train" and not {"validation": split.validation, "test": split.test}.get(period, 1):
        return period
    return None


def share_of(value):
    """SplitMix64's finaliser for numbers and dates, xxh3 for the bytes of others."""
    return (_hash(value) >> 11) / 2.0**53


def _hash(value):
    if isinstance(value, Decimal128):
        value = float(value.to_decimal())
    if isinstance(value, datetime):
        value = round((value - datetime(1970, 1, 1)).total_seconds() * 1000)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**63:
        value = int(value)
    if isinstance(value, float):
        return _mixed(struct.unpack("<Q", struct.pack("<d", value))[0])
    if isinstance(value, int):
        return _mixed(int(value) & MASK)
    if isinstance(value, str):
        return xxhash.xxh3_64_intdigest(value.encode())
    if isinstance(value, ObjectId):
        return xxhash.xxh3_64_intdigest(value.binary)
    return xxhash.xxh3_64_intdigest(bson.encode({"": value}))


def _mixed(word):
    word = (word + 0x9E3779B97F4A7C15) & MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
    return word ^ (word >> 31)

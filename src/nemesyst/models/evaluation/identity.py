"""Which sample is which: a number for each, the same whichever version's windows it is looked at through.

A window is known by its device and the time of its last input step, which fix the steps of its targets; a row by its
``_id`` and, where several rows come out of one document, its place among them. Numbers are made by NumPy for many
samples at once; they find accidents, they are no protection against somebody who makes two samples look alike.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = np.ndarray[Any, Any]

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_WHOLE = 2.0**53
_LANE = 1 << 64
_ID_BYTES = 12
_WIDE, _WIDEST = 512, 4096
"""Bytes of a sample from which eight are taken at a time, and from which it is faster to hash one after another."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the driver gives UTC without saying so


class Identity(NamedTuple):
    """Samples as numbers; each of shape (rows,).

    Attributes:
        key: Tells them apart; uint64.
        device: Of the device, or of what is known instead of one; uint64.
        time: Orders those of one device; int64.
    """

    key: Array
    device: Array
    time: Array


def mixed(values: Array) -> Array:
    """Numbers with their bits spread (the finaliser of SplitMix64); uint64 in, uint64 out."""
    values = values + _SPREAD
    values = (values ^ (values >> _S30)) * _FIRST
    values = (values ^ (values >> _S27)) * _SECOND
    made: Array = values ^ (values >> _S31)
    return made


def combined(first: Array, second: Array) -> Array:
    """One number out of two, which depends on their order; uint64."""
    return mixed(mixed(first) ^ second)


def of_windows(device: Array | None, time: Array) -> Identity:
    """Identity of windows.

    Args:
        device: Of each one; None: all are one device's.
        time: Of each one's last input step; dates or numbers.
    """
    devices = np.zeros(len(time), np.uint64) if device is None else mixed(hashed(device))
    ticks = ticks_of(time)
    return Identity(combined(devices, ticks.view(np.uint64)), devices, ticks)


def of_rows(ids: list[Any] | Mapping[str | None, Array]) -> Identity:
    """Identity of rows by their ``_id``, without the place among those of one document.

    Args:
        ids: Them; or as arrays by their fields, under None where they are no documents (ObjectIds by their bytes).
    """
    arrays = ids if not isinstance(ids, list) else _arrays(ids)
    none = np.zeros(len(next(iter(arrays.values()))), np.uint64)
    if None not in arrays:
        *before, times = arrays.values()
        devices, last = none, hashed(times)
        for column in before:
            devices = combined(devices, hashed(column))
        if times.dtype.kind in "iufM":
            return Identity(combined(devices, last), devices, ticks_of(times))
        return Identity(combined(devices, last), combined(devices, last), none.view(np.int64))
    values = arrays[None]
    if values.ndim == 2:  # ObjectIds: time, then the rest
        raw = values.view(">u4").astype(np.uint64)
        time = raw[:, 0].astype(np.int64)
        return Identity(combined(raw[:, 0] << np.uint64(32) | raw[:, 1], raw[:, 2]), none, time)
    if values.dtype.kind in "iufM":
        return Identity(mixed(hashed(values)), none, ticks_of(values))
    keys = mixed(hashed(values))
    return Identity(keys, keys, none.view(np.int64))


def numbers_of_rows(ids: list[Any] | Mapping[str | None, Array]) -> Array:
    """What :func:`of_rows` gives as one array, uint64 (rows, 3); see :func:`of_numbers`."""
    key, device, time = of_rows(ids)
    return np.stack([key, device, time.view(np.uint64)], axis=1)


def of_numbers(numbers: Array) -> Identity:
    """Identity of rows out of what :func:`numbers_of_rows` made."""
    key, device, time = np.ascontiguousarray(numbers.T)
    return Identity(key, device, time.view(np.int64))


def _arrays(ids: list[Any]) -> Mapping[str | None, Array]:
    if ids and all(len(getattr(each, "binary", b"")) == _ID_BYTES for each in ids):
        return {None: np.frombuffer(b"".join(each.binary for each in ids), np.uint8).reshape(-1, _ID_BYTES)}
    if ids and all(isinstance(each, dict) for each in ids) and len({tuple(each) for each in ids}) == 1 and ids[0]:
        return {name: _array([each[name] for each in ids]) for name in ids[0]}
    return {None: _array(ids)}


def _array(values: list[Any]) -> Array:
    kinds = {type(each) for each in values}
    kinds = {int if issubclass(kind, int) and kind is not bool else kind for kind in kinds}  # the driver's long ones
    if len(kinds) == 1 and kinds <= {int, float, str}:
        try:
            return np.array(values)
        except OverflowError:
            pass
    if kinds and all(hasattr(kind, "utcoffset") and hasattr(kind, "year") for kind in kinds):  # dates with a time
        if any(each.tzinfo is not None for each in values):
            values = [each if each.tzinfo is None else each.astimezone(UTC).replace(tzinfo=None) for each in values]
        seconds = np.array([(each - _EPOCH).total_seconds() for each in values])
        ticks: Array = np.rint(seconds * 1000).astype(np.int64)
        return ticks.view("datetime64[ms]")
    made = np.empty(len(values), object)
    made[:] = values
    return made


def hashed(values: Array) -> Array:
    """A number for each value, the same for 30 and 30.0; uint64."""
    kind = values.dtype.kind
    if kind in "biu":
        return values.astype(np.int64).view(np.uint64)
    if kind == "M":
        return values.astype("datetime64[ms]").view(np.uint64)
    if kind == "f":
        numbers = values.astype(np.float64)
        whole = (numbers == np.rint(numbers)) & (np.abs(numbers) < _WHOLE)
        return np.where(whole, np.where(whole, numbers, 0).astype(np.int64).view(np.uint64), numbers.view(np.uint64))
    return _of_runs(values)


def _of_runs(values: Array) -> Array:
    """Hashes of texts and objects, each taken once where equal ones lie together."""
    rows = len(values)
    if not rows:
        return np.empty(0, np.uint64)
    fresh = np.ones(rows, bool)
    if values.ndim == 1:
        fresh[1:] = values[1:] != values[:-1]
    heads = np.flatnonzero(fresh)
    found = [xxhash.xxh3_64_intdigest(_bytes(value)) for value in values[heads].tolist()]
    each: Array = np.array(found, np.uint64)[np.cumsum(fresh) - 1]
    return each


def _bytes(value: Any) -> bytes:
    text = value if isinstance(value, str) else f"{type(value).__name__}:{value!r}"
    return text.encode("utf-8", "surrogatepass")


def ticks_of(times: Array) -> Array:
    """Times as int64 in their order: dates as milliseconds, fractions by their bits."""
    if times.dtype.kind == "M":
        return times.astype("datetime64[ms]").view(np.int64)
    if times.dtype.kind != "f":
        return times.astype(np.int64)
    numbers = times.astype(np.float64)
    if bool((numbers == np.rint(numbers)).all()) and bool((np.abs(numbers) < _WHOLE).all()):
        return numbers.astype(np.int64)
    bits = numbers.view(np.int64)
    made: Array = np.where(bits < 0, np.int64(-(2**63)) - bits, bits)
    return made


class Ordinals:
    """The place of each row among the rows of one document, which come one after another."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._place = 0

    def apart(self, found: Identity) -> Identity:
        """The identities of the next rows, those of one document told apart."""
        keys = found.key
        if not len(keys):
            return found
        fresh = np.ones(len(keys), bool)
        fresh[1:] = keys[1:] != keys[:-1]
        carried = self._last is not None and int(keys[0]) == self._last
        if fresh.all() and not carried:
            self._last, self._place = int(keys[-1]), 0
            return found
        heads = np.flatnonzero(fresh)
        places = np.arange(len(keys)) - heads[np.cumsum(fresh) - 1]
        if carried:
            end = int(heads[1]) if len(heads) > 1 else len(keys)
            places[:end] += self._place + 1
        self._last, self._place = int(keys[-1]), int(places[-1])
        apart = np.where(places > 0, combined(keys, places.astype(np.uint64)), keys)
        return found._replace(key=apart)


def of_targets(truth: Array) -> Array:
    """A number for the target of each sample, by its bytes; shape (rows, ...) in, uint64 (rows,) out."""
    flat = np.ascontiguousarray(truth).reshape(len(truth), -1)
    if flat.dtype.kind == "f":
        flat = flat + 0.0  # -0.0 is 0.0
    words = flat.view(np.uint32 if flat.dtype.itemsize % 4 == 0 else np.uint8).astype(np.uint64)
    return mixed(_summed(words))


def of_inputs(key: Array, batch: Mapping[str, Array]) -> Array:
    """A number for each sample and everything that was read of it; uint64 (rows,).

    Args:
        key: Of each sample, uint64 (rows,); it stands for id, device, time and target.
        batch: As it was read.
    """
    for name in sorted(batch.keys() - {"y", "device", "time"}):
        key = combined(key, _of_cells(batch[name]))
    return key


def _of_cells(values: Array) -> Array:
    """A number for the values of each sample, by their bytes; uint64 (rows,)."""
    if values.dtype == object:
        return _of_runs(np.array([repr(row) for row in values.tolist()], object))
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    if flat.shape[1] * flat.dtype.itemsize < _WIDE:
        return of_targets(flat)
    raw = flat.view(np.uint8)
    if raw.shape[1] % 8 == 0 and raw.shape[1] <= _WIDEST:
        return mixed(_summed(raw.view(np.uint64)))
    return np.array([xxhash.xxh3_64_intdigest(row.data) for row in raw], np.uint64)


def _summed(words: Array) -> Array:
    """Words, each with a factor of its place, as one number for each row; uint64 (rows, words) in, (rows,) out."""
    factors = mixed(np.arange(words.shape[1], dtype=np.uint64)) | np.uint64(1)
    made: Array = np.einsum("ij,j->i", words, factors)  # twice as fast as @, which is slow for whole numbers
    return made


class RowDigest:
    """A digest of a set of samples, whatever their order."""

    def __init__(self) -> None:
        self._sums = [0, 0]
        self.count = 0

    def add(self, keys: Array) -> None:
        """Take samples; uint64 (rows,)."""
        for lane, values in enumerate((keys, mixed(keys))):
            self._sums[lane] = (self._sums[lane] + int(values.sum(dtype=np.uint64))) % _LANE
        self.count += len(keys)

    def hexdigest(self) -> str:
        """32 hexadecimal digits."""
        text = f"{self.count}:{self._sums[0]}:{self._sums[1]}"
        return str(xxhash.xxh3_128_hexdigest(text.encode()))

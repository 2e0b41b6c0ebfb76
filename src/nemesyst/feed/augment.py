"""``map=``: a function of the user's on each batch of the train part."""

from __future__ import annotations

import inspect
import traceback
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.errors import FeedError
from nemesyst.feed.function_source import name_of, source_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemesyst.types import Batch

Array = np.ndarray[Any, Any]

_STREAM = 0x6D6170
"""Sets these random numbers apart from those of the shuffle, which has the same seed and epoch ("map" in ASCII)."""

_REMEDY = "Write def f(batch): or def f(batch, rng): with a batch as its result."


class BatchMap:
    """A function on batches: ``f(batch) -> batch``, or ``f(batch, rng) -> batch`` with a NumPy random generator.

    The function may change the arrays that it is given. ``rng`` depends on seed, epoch and the batch's place in the
    epoch alone, so the numbers are the same for any number of ranks.

    Args:
        function: Takes a dict of arrays, and returns one with the same number of rows: the same names or others.

    Raises:
        FeedError: It cannot be called so.
    """

    def __init__(self, function: Callable[..., Batch]) -> None:
        if not callable(function):
            raise FeedError(f"Feed: map={function!r:.80} is not a function", _REMEDY)
        self.function = function
        self.name = name_of(function)
        self._rng = _random_argument(function, self.name)

    @cached_property
    def fingerprint(self) -> dict[str, Any]:
        """Name, source and digest; see :func:`source_fingerprint`.

        Raises:
            FeedError: The function has none.
        """
        return source_fingerprint(self.function)

    def apply(self, batch: Batch, *, seed: int, epoch: int, index: int) -> Batch:
        """The function's result for a batch, its arrays C-contiguous and native.

        Args:
            batch: The arrays; they are not changed (those that are views are copied first).
            seed: The feed's seed.
            epoch: Which epoch, from 0.
            index: Place of the batch in the epoch over all ranks, from 0.

        Raises:
            FeedError: The function fails, or returns something else than arrays of as many rows.
        """
        rows = len(next(iter(batch.values())))
        given = {name: _own(values) for name, values in batch.items()}
        where = f"map {self.name}, batch {index} of epoch {epoch}"
        try:
            made = self._called(given, [seed, epoch, index, _STREAM])
        except Exception as error:
            raise FeedError(f"{where}: {type(error).__name__}: {error}{_place(error)}", "Mend the function.") from error
        return self._checked(where, made, rows)

    def _called(self, batch: Batch, seed: list[int]) -> Any:
        if self._rng is None:
            return self.function(batch)
        rng = np.random.default_rng(seed)
        return self.function(batch, rng) if self._rng == "second" else self.function(batch, rng=rng)

    def _checked(self, where: str, made: Any, rows: int) -> Batch:
        if not isinstance(made, dict) or not made:
            what = "None" if made is None else "an empty dict" if made == {} else f"a {type(made).__name__}"
            raise FeedError(f"{where}: it returned {what}, not a dict of arrays", "Return the batch.")
        for name, values in made.items():
            if not isinstance(name, str) or not name or name.startswith("#"):
                raise FeedError(
                    f"{where}: it returned the name {name!r}", "A name is a text that does not start with #."
                )
            if not isinstance(values, np.ndarray):
                raise FeedError(
                    f"{where}: {name} is a {type(values).__name__}, not a NumPy array", "Turn it into one: np.asarray."
                )
            if values.shape[:1] != (rows,):
                raise FeedError(
                    f"{where}: {name} has the shape {values.shape}, expected {rows} rows",
                    "Rows stay: leave some out in the pipeline ($match), or by weight=.",
                )
        return {name: _plain(values) for name, values in made.items()}


def _random_argument(function: Callable[..., Any], name: str) -> str | None:
    """How the function takes random numbers: as ``"second"``, by ``"name"``, or not at all."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature
        return None
    if "rng" in signature.parameters and _fits(signature, 1, rng=1):
        return "name"
    if _fits(signature, 1):
        return None
    if _fits(signature, 1, 2):
        return "second"
    raise FeedError(f"Feed: map={name}{signature} cannot be called with a batch alone, nor with batch and rng", _REMEDY)


def _fits(signature: inspect.Signature, *given: int, **named: int) -> bool:
    try:
        signature.bind(*given, **named)
    except TypeError:
        return False
    return True


def _own(values: Array) -> Array:
    """Something that the function may write to: rows of the cache and windows share memory."""
    return values if values.flags.owndata and values.flags.writeable else values.copy()


def _plain(values: Array) -> Array:
    """C-contiguous and in the machine's byte order; a copy only where it is not."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("="))


def _place(error: BaseException) -> str:
    """File and line where it happened, unless that is here."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__]
    return f" (in {frames[-1].filename}, line {frames[-1].lineno})" if frames else ""

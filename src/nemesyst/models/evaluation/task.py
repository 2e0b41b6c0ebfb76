"""What is predicted, so that versions can be compared: and which feed each of them reads it through."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nemesyst.errors import FeedError, ModelError, NemesystError
from nemesyst.feed import Feed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.types import Version

BATCH = 2048
"""Samples that a model is given at once, at most: what it makes of them may take a lot of memory."""
_READ = 16384
"""Samples of a batch that is read, at most: what is done with all of them at once costs little for each."""
_BYTES = 4 << 20
"""Bytes of the inputs of a batch, about."""


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        targets: The fields.
        window: What of a window decides on the targets; None: each row has its own.
    """

    targets: tuple[str, ...]
    window: tuple[tuple[str, Any], ...] | None

    @classmethod
    def of(cls, spec: Feed) -> Task:
        """The task of a specification."""
        window = spec.window
        named = ("by", "on", "horizon", "every", "fill", "anchor")
        told = None if window is None else tuple((name, _plain(getattr(window, name))) for name in named)
        return cls(tuple(spec.targets or ()), told)

    def __str__(self) -> str:
        if self.window is None:
            return f"{', '.join(self.targets)} of each row"
        window = dict(self.window)
        shown = [f"{name}={value}" for name, value in window.items() if value is not None]
        return f"{', '.join(self.targets)} of windows with {', '.join(shown)}"


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def specification(version: Version) -> Feed:
    """The specification of the feed that a version learned from.

    Raises:
        ModelError: It was saved without one, or without targets.
    """
    if version.feed is None:
        raise ModelError(
            f"{version.ref} was saved without a feed, so its inputs, window and scale are not known",
            "Save it with feed=..., or give a function of a batch instead.",
        )
    try:
        spec = Feed.from_dict({name: value for name, value in version.feed.items() if name != "prepared"})
    except NemesystError as error:
        raise ModelError(f"{version.ref}: its recorded feed: {error.message}", error.remedy) from None
    if not spec.targets:
        raise ModelError(f"{version.ref}: its feed has no targets to compare with", "Name them: targets=[...].")
    return spec


def check_same(specs: Mapping[str, Feed]) -> Task:
    """The task that all specifications share, by the name of who brings it.

    Raises:
        FeedError: Two of them predict different things.
    """
    tasks = {name: Task.of(spec) for name, spec in specs.items()}
    first = next(iter(tasks))
    for name, task in tasks.items():
        if task != tasks[first]:
            raise FeedError(
                f"evaluate: {first} predicts {tasks[first]}, and {name} predicts {task}: they cannot be compared",
                "Compare versions of one target, horizon and grid; inputs, scale and length of the windows may differ.",
            )
    return tasks[first]


def over(own: Feed, on: Feed, *, stride: int) -> Feed:
    """A version's specification over the rows of another: its inputs, window and targets; their collection and split.

    Neither scale nor shuffle: what is read is shared by all versions that read the same, and each scales it itself.

    Args:
        own: The version's.
        on: Of the rows that are evaluated.
        stride: Of the windows (see ``stride_of``).
    """
    window = own.window
    if window is not None:
        window = replace(window, with_time=True, stride=1 if window.anchor is not None else stride)
    return on.with_(
        inputs=own.inputs or None,
        targets=own.targets or None,
        window=window,
        join=own.join or on.join,
        missing=on.missing if own.missing == "error" else own.missing,
        scale=None,
        weight=None,
        map=None,
        shuffle=False,
        batch_size=_batch(own),
    )


def _batch(own: Feed) -> int:
    return max(min(BATCH, _BYTES // _sample(own)), min(own.batch_size, BATCH))


def at_once(spec: Feed) -> int:
    """Samples to read at once, of which models are given ``spec.batch_size`` at a time."""
    return max(spec.batch_size, min(_READ, _BYTES // _sample(spec)))


def _sample(spec: Feed) -> int:
    """Bytes of the inputs of a sample, where each field is one number."""
    inputs = spec.inputs or ()
    groups = list(inputs.values()) if hasattr(inputs, "values") else [inputs]
    return 4 * max(sum(map(len, groups)), 1) * (spec.window.length if spec.window is not None else 1)


def smaller(spec: Feed, sample: int) -> Feed:
    """The same with fewer samples in a batch, where one has so many bytes that they would be too large."""
    fitting = max(_BYTES * 4 // max(sample, 1), 1)
    return spec if fitting >= spec.batch_size else spec.with_(batch_size=fitting)


def stride_of(on: Feed, specs: Sequence[Feed]) -> int:
    """The stride of all windows: that of the rows' own feed, else the one that the versions share.

    It counts from a device's first step, so that windows of two lengths would end at different steps: then it is 1.
    """
    windows = [spec.window for spec in specs if spec.window is not None]
    if len({window.length for window in windows}) > 1:
        return 1
    if on.window is not None:
        return on.window.stride
    strides = {window.stride for window in windows}
    return strides.pop() if len(strides) == 1 else 1

"""Which fields are looked for, as a tree of keys; and the order in which documents have their keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from nemesyst.feed.decode.kinds import ABSENT, SIZE, damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemesyst.feed.decode.kinds import Array

Path = tuple[str, ...]
ID: Path = ("_id",)
_LONGEST = 500
_MOST = 1024


@dataclass(frozen=True)
class Step:
    """One key of a program, ready to be compared with eight bytes at a time.

    Attributes:
        node: What is looked for under the key, or None.
        size: Bytes of type, key and NUL.
        mask: Which of the first eight bytes count.
        head: What they are, masked.
        more: Offset and content of further eight bytes.
    """

    node: Node | None
    size: int
    mask: int
    head: int
    more: tuple[tuple[int, int], ...]

    @cached_property
    def sizes(self) -> Array:
        """Bytes of the element by the type of its value, 0 for type 0; negative where the type does not tell."""
        sizes = np.where(SIZE >= 0, SIZE + self.size, SIZE)
        sizes[ABSENT] = 0
        return sizes


@dataclass(eq=False)
class Node:
    """A document, or a value in it, on the way to the fields.

    Attributes:
        path: Keys from the top.
        wanted: Whether the value itself is looked for.
        everything: Whether each key below is wanted.
        children: What is looked for below.
        program: Keys in the order in which documents have them, as far as was seen.
    """

    path: Path = ()
    wanted: bool = False
    everything: bool = False
    children: dict[bytes, Node] = field(default_factory=dict)
    program: list[bytes] = field(default_factory=list)
    _steps: dict[bytes, Step] = field(default_factory=dict)

    def child(self, key: bytes) -> Node | None:
        """What is looked for under a key, or None."""
        found = self.children.get(key)
        if found is None and self.everything:
            try:
                name = key.decode()
            except UnicodeDecodeError:
                raise damaged(f"the key {key!r} is not UTF-8") from None
            found = self.children[key] = Node((*self.path, name), wanted=True)
        return found

    def add(self, path: Path) -> None:
        """Look for the value at a path, and for those on the way to it, which may be what no path leads through."""
        node = self
        for key in path:
            node = node.children.setdefault(key.encode(), Node((*node.path, key)))
            node.wanted = True

    def learn(self, keys: Sequence[bytes]) -> None:
        """Put the keys of a document into the program, each new one behind the one that it follows."""
        known = {key: i for i, key in enumerate(self.program)}
        place, grown = -1, list(self.program)
        for key in keys:
            if key in known:
                place = max(place, grown.index(key))
            elif comparable(key):
                place += 1
                grown.insert(place, key)
                known[key] = place
        if len(grown) <= max(16, 2 * len(keys)):  # else the documents have little in common
            self.program = grown

    def steps(self, keys: Sequence[bytes]) -> list[Step]:
        """The keys as steps, without those that cannot be compared by words."""
        if len(self._steps) > _MOST:
            self._steps.clear()
        for key in keys:
            if key not in self._steps and comparable(key):
                self._steps[key] = step_of(key, self.child(key))
        return [self._steps[key] for key in keys if key in self._steps]


def tree(names: Sequence[str] | None) -> Node:
    """The tree of the given dotted names, or of every top-level field; ``_id`` is always in it."""
    root = Node(everything=names is None)
    root.add(ID)
    for name in names or ():
        for path in paths(name):
            root.add(path)
    return root


def paths(name: str) -> list[Path]:
    """Where a name may stand: under itself as one key, and in documents inside documents."""
    parts = tuple(name.split("."))
    return [(name,)] if len(parts) == 1 else [(name,), parts]


def comparable(key: bytes) -> bool:
    """Whether a key can be a step of a program."""
    # What follows a finished document must not look like an element of it: NUL, or the type of the next element.
    return 0 < len(key) <= _LONGEST and 0x20 <= key[0] != 0x7F


def step_of(key: bytes, node: Node | None) -> Step:
    """A key as a step."""
    pattern = b"\0" + key + b"\0"
    size = len(pattern)
    mask = int.from_bytes(b"\0" + b"\xff" * min(7, size - 1), "little")
    head = int.from_bytes(pattern[:8], "little") & mask
    offsets = [*range(8, size - 8, 8), size - 8] if size > 8 else []
    more = tuple((offset, int.from_bytes(pattern[offset : offset + 8], "little")) for offset in offsets)
    return Step(node, size, mask, head, more)

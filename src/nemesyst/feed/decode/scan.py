"""One document's elements, one after another: for the first of a layout, and for the few that fit none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemesyst.feed.decode.kinds import BY_EYE, COUNTED, EXTRAS, LEASTS, SIZES, damaged

if TYPE_CHECKING:
    from collections.abc import Iterator


def elements(raw: bytes, begin: int, end: int) -> Iterator[tuple[int, bytes, int, int]]:
    """Type, key, and the offsets between which the value stands, of each element from ``begin`` up to ``end``.

    Raises:
        RecordError: The bytes are no BSON, or an element ends beyond ``end``.
    """
    position = begin
    while position < end:
        kind = raw[position]
        nul = raw.find(0, position + 1, end)
        if nul < 0:
            raise damaged(f"a key without end at byte {position}")
        start = nul + 1
        stop = start + size(raw, kind, start, end)
        if stop > end:
            raise damaged(f"the value at byte {start} ends beyond its document")
        yield kind, raw[position + 1 : nul], start, stop
        position = stop


def size(raw: bytes, kind: int, start: int, end: int) -> int:
    """Bytes that the value of this type at ``start`` takes.

    Raises:
        RecordError: There is no such type, or the value has no end.
    """
    fixed = SIZES[kind]
    if fixed >= 0:
        return fixed
    if fixed == COUNTED:
        length = int.from_bytes(raw[start : start + 4], "little", signed=True)
        if start + 4 > end or length < LEASTS[kind]:
            raise damaged(f"the value at byte {start} has length {length}")
        return EXTRAS[kind] + length
    if fixed == BY_EYE:  # a regular expression: pattern and options, both ended by NUL
        pattern = raw.find(0, start, end)
        options = raw.find(0, pattern + 1, end)
        if pattern < 0 or options < 0:
            raise damaged(f"a regular expression without end at byte {start}")
        return options + 1 - start
    raise damaged(f"there is no type {kind:#04x} (byte {start})")

"""Bytes of a memory-mapped file, used without keeping them.

A model of 2 GB that is mapped and copied takes 4 GB: the pages of the file that were read stay resident as long as
there is room. Here they are given back as the copy goes on; who reads them again gets them from the page cache.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nemesyst.frameworks.base import Array

AT_ONCE = 32 * 1024 * 1024
"""Bytes that are copied before their pages are given back."""

_SMALL = 64 * 1024
"""Views below this size are left alone: a system call costs more than their pages."""


def copy_bytes(view: memoryview, into: Array) -> None:
    """Copy all of a view into a flat array of ``uint8`` of its size, and give its pages back."""
    for begin in range(0, len(view), AT_ONCE):
        piece = view[begin : begin + AT_ONCE]
        into[begin : begin + len(piece)] = np.frombuffer(piece, np.uint8)
        release(piece)


def release(view: memoryview) -> None:
    """Give the pages of a view back, if they are those of a file that is mapped for reading alone."""
    owner: Any = view.obj
    if len(view) < _SMALL or not isinstance(owner, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    with memoryview(owner) as whole:
        if not whole.readonly:  # the pages of a writable map may be the only copy
            return
        begin = _address(view) - _address(whole)
    end, begin = begin + len(view), begin - begin % mmap.PAGESIZE
    owner.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)

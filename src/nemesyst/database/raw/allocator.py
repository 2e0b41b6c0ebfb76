"""The C library's allocator, told once per process to keep the blocks that replies come in."""

from __future__ import annotations

import os
import sys
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = 32 << 20  # bytes; the most that every glibc accepts, and more than the largest reply (16 MB)
_KEPT = 128 << 20  # bytes free at the end of the heap that are kept rather than given back


@cache
def keep_large_blocks() -> bool:
    """Let blocks of up to 32 MB come from the heap, which is reused, rather than from fresh pages each time.

    A fresh mapping per reply costs a page fault per 4 KB of it. Whoever sets the thresholds in the environment knows
    better, and is left alone. Returns whether they were set here.
    """
    if sys.platform != "linux" or "MALLOC_MMAP_THRESHOLD_" in os.environ or "GLIBC_TUNABLES" in os.environ:
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, _KEPT))

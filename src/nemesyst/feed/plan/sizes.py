"""How many rows chunks have."""

from __future__ import annotations

_LEAST_ROWS = 64
_OF_A_SIZE = 2
"""Chunks of one size; then they double. So few rows make many chunks, which shuffle and share well, and many rows
make large ones, which read well; and how large the first ones are does not depend on how many rows there are."""
CHUNK_BYTES = 8 << 20
"""About how many bytes of documents the largest chunks have."""
_MOST_ROWS = 1 << 16


def largest(document_bytes: float) -> int:
    """Rows of the largest chunks, a power of two, for documents of a size."""
    rows = 1
    while rows * 2 * document_bytes <= CHUNK_BYTES and rows < _MOST_ROWS:
        rows *= 2
    return rows


def rows_of_chunk(chunk: int, most: int) -> int:
    """About how many documents a chunk has, by its number and the rows of the largest ones."""
    return min(most, _LEAST_ROWS << min(chunk // _OF_A_SIZE, 20))

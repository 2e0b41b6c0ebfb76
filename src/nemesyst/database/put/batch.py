"""What is sent: encoded rows; and the counts of what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Batch:
    """Encoded rows and where they came from.

    Attributes:
        documents: The rows, or statements of a replacement.
        places: Position and source of each.
        size: Bytes of all.
    """

    documents: list[bytes] = field(default_factory=list)
    places: list[tuple[int, str | None]] = field(default_factory=list)
    size: int = 0

    def add(self, encoded: bytes, place: tuple[int, str | None]) -> None:
        """Add an encoded row."""
        self.documents.append(encoded)
        self.places.append(place)
        self.size += len(encoded)


@dataclass
class Tally:
    """What has been acknowledged so far: rows by fate, and bytes."""

    stored: int = 0
    unchanged: int = 0
    replaced: int = 0
    rejected: int = 0
    size: int = 0

    @property
    def rows(self) -> int:
        """Rows of any fate."""
        return self.stored + self.unchanged + self.replaced + self.rejected

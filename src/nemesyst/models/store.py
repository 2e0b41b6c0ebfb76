"""What the parts of the registry work with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemesyst.database import Connection, blobs
    from nemesyst.models.catalogue import Catalogue


@dataclass(frozen=True)
class Store:
    """The registry's places.

    Attributes:
        connection: The server.
        state: Name of the state database.
        catalogue: Records.
        blobs: Large contents.
    """

    connection: Connection
    state: str
    catalogue: Catalogue
    blobs: blobs.Blobs

"""Undecoded batches of documents out of a collection, as fast as the server gives them."""

from nemesyst.database.raw.reader import RawReader

__all__ = ["RawReader"]

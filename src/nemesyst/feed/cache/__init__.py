"""The cache of decoded rows: memory-mapped columns, shared by the processes of a node."""

from nemesyst.feed.cache.entry import Entry
from nemesyst.feed.cache.store import Cache, EntryInfo
from nemesyst.feed.cache.warn import CacheWarning

__all__ = ["Cache", "CacheWarning", "Entry", "EntryInfo"]

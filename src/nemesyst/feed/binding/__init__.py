"""Binding a specification to a database: its checks, its cutoff and plan, and what all parts of a feed share.

What reads and decodes is in ``binder`` and imported by whoever binds: it takes a while.
"""

from nemesyst.feed.binding.place import NOW, Asked, Place

__all__ = ["NOW", "Asked", "Place"]

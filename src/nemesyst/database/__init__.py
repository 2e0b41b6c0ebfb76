"""The only room that imports PyMongo: connecting, the embedded server, documents, blobs."""

from nemesyst.database.connection import Connection, Server
from nemesyst.database.translate import redact, translate, translated

__all__ = ["Connection", "Server", "redact", "translate", "translated"]

"""The only room that imports PyMongo: connecting, the embedded server, documents, blobs."""

from nemesyst.database import blobs
from nemesyst.database.connection import Connection, Server
from nemesyst.database.documents import STAMP, is_packed, pack, unpack, unpack_document
from nemesyst.database.files import Source, open_source
from nemesyst.database.put import OnConflict, put
from nemesyst.database.reading import check_pipeline, estimated_rows
from nemesyst.database.translate import redact, translate, translated

__all__ = [
    "STAMP",
    "Connection",
    "OnConflict",
    "Server",
    "Source",
    "blobs",
    "check_pipeline",
    "estimated_rows",
    "is_packed",
    "open_source",
    "pack",
    "put",
    "redact",
    "translate",
    "translated",
    "unpack",
    "unpack_document",
]

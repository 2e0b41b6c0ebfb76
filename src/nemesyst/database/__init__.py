"""The only room that imports PyMongo: connecting, the embedded server, documents, blobs."""

from nemesyst.database import blobs
from nemesyst.database.connection import Connection, Server, check_database
from nemesyst.database.csvfile import parse_cell
from nemesyst.database.documents import STAMP, is_packed, pack, unpack, unpack_document
from nemesyst.database.files import Source, open_source
from nemesyst.database.put import OnConflict, Row, check_put, put
from nemesyst.database.raw import RawReader
from nemesyst.database.reading import check_pipeline, estimated_rows
from nemesyst.database.translate import redact, translate, translated

__all__ = [
    "STAMP",
    "Connection",
    "OnConflict",
    "RawReader",
    "Row",
    "Server",
    "Source",
    "blobs",
    "check_database",
    "check_pipeline",
    "check_put",
    "estimated_rows",
    "is_packed",
    "open_source",
    "pack",
    "parse_cell",
    "put",
    "redact",
    "translate",
    "translated",
    "unpack",
    "unpack_document",
]

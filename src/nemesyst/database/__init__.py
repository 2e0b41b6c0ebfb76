"""The only room that imports PyMongo: connecting, the embedded server, documents, blobs."""

from typing import TYPE_CHECKING

from bson import ObjectId, Timestamp

from nemesyst.database import blobs
from nemesyst.database.bulkwrite import update_all
from nemesyst.database.connection import Connection, Server, check_database
from nemesyst.database.csvfile import parse_cell
from nemesyst.database.documents import STAMP, is_packed, pack, unpack, unpack_document
from nemesyst.database.extended import from_extended, to_extended
from nemesyst.database.files import Source, open_source
from nemesyst.database.leaving import leave_at_once
from nemesyst.database.put import OnConflict, Row, check_put, put
from nemesyst.database.reading import (
    CollectionKind,
    check_pipeline,
    check_readable,
    estimated_rows,
    kind_of_collection,
    preference_of,
    round_trip,
)
from nemesyst.database.reconnect import Reconnect
from nemesyst.database.transient import is_transient
from nemesyst.database.translate import redact, translate, translated
from nemesyst.lazy import later

if TYPE_CHECKING:
    from nemesyst.database.cutoff import Changes, Cutoff, CutoffRead, RateLimit, Reread, as_time, present_time
    from nemesyst.database.keeping import Keeping, KeptSet
    from nemesyst.database.limits import within
    from nemesyst.database.nodecache import BlobCacheWarning, NodeCache
    from nemesyst.database.raw import RawReader
    from nemesyst.database.stopping import Stopper
    from nemesyst.database.sweeping import release, sweep
    from nemesyst.database.writes import insert_new, unchanged

__getattr__ = later(
    __name__,
    {
        "BlobCacheWarning": "nodecache",
        "Changes": "cutoff",
        "Cutoff": "cutoff",
        "CutoffRead": "cutoff",
        "Keeping": "keeping",
        "KeptSet": "keeping",
        "NodeCache": "nodecache",
        "RateLimit": "cutoff",
        "RawReader": "raw",
        "Reread": "cutoff",
        "Stopper": "stopping",
        "as_time": "cutoff",
        "insert_new": "writes",
        "present_time": "cutoff",
        "release": "sweeping",
        "sweep": "sweeping",
        "unchanged": "writes",
        "within": "limits",
    },
)

__all__ = [
    "STAMP",
    "BlobCacheWarning",
    "Changes",
    "CollectionKind",
    "Connection",
    "Cutoff",
    "CutoffRead",
    "Keeping",
    "KeptSet",
    "NodeCache",
    "ObjectId",
    "OnConflict",
    "RateLimit",
    "RawReader",
    "Reconnect",
    "Reread",
    "Row",
    "Server",
    "Source",
    "Stopper",
    "Timestamp",
    "as_time",
    "blobs",
    "check_database",
    "check_pipeline",
    "check_put",
    "check_readable",
    "estimated_rows",
    "from_extended",
    "insert_new",
    "is_packed",
    "is_transient",
    "kind_of_collection",
    "leave_at_once",
    "open_source",
    "pack",
    "parse_cell",
    "preference_of",
    "present_time",
    "put",
    "redact",
    "release",
    "round_trip",
    "sweep",
    "to_extended",
    "translate",
    "translated",
    "unchanged",
    "unpack",
    "unpack_document",
    "update_all",
    "within",
]

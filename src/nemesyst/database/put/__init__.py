"""Putting records into a collection: any source of rows, checked, stamped, sent in batches."""

from nemesyst.database.put.rows import Refused, Row
from nemesyst.database.put.writer import OnConflict, check_put, put

__all__ = ["OnConflict", "Refused", "Row", "check_put", "put"]

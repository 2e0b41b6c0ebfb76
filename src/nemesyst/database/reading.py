"""Questions about a collection that need no more than a read role."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import errors as driver

from nemesyst.database.translate import redact, translated
from nemesyst.errors import PipelineError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.database.connection import Connection

_NO_RIGHT = 13


def check_pipeline(connection: Connection, database: str, collection: str, stages: Sequence[Mapping[str, Any]]) -> None:
    """Let the server plan a pipeline without running it.

    Raises:
        PipelineError: The server refuses it; its own words say which stage and why.
    """
    plan = {"aggregate": collection, "pipeline": list(stages), "cursor": {}}
    with translated(f"planning the pipeline over {database}.{collection}"):
        try:
            connection.client[database].command("explain", plan, verbosity="queryPlanner")
        except driver.OperationFailure as error:
            if error.code == _NO_RIGHT:
                raise
            reason = redact(str(error)).split(", full error:", maxsplit=1)[0]
            raise PipelineError(
                f"pipeline over {collection}: the server refuses it: {reason}", "Correct the stage that it names."
            ) from None


_PATIENCE_MS = 500
"""How long the server may count for an estimate."""


def estimated_rows(
    connection: Connection, database: str, collection: str, query: Mapping[str, Any] | None = None
) -> int | None:
    """About how many documents a collection has, from the server's counter.

    With a query they are counted, and None is the answer when that takes long.
    """
    rows = connection.client[database][collection]
    with translated(f"counting {database}.{collection}"):
        if query is None:
            return rows.estimated_document_count()
        try:
            return rows.count_documents(query, maxTimeMS=_PATIENCE_MS)
        except driver.ExecutionTimeout:
            return None

"""Questions about a collection that need no more than a read role."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo import errors as driver
from pymongo.read_preferences import Secondary, make_read_preference, read_pref_mode_from_name

from nemesyst.database.translate import redact, translated
from nemesyst.errors import PipelineError, SettingsError, UnreachableError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemesyst.database.connection import Connection

_NO_RIGHT = 13


@dataclass(frozen=True)
class CollectionKind:
    """What a collection is.

    Attributes:
        view_on: Of a view: the collection that it is over.
        pipeline: Of a view: its stages.
        time_field: Of a time-series collection: the field of its time.
        clustered: Whether it is clustered on its ``_id``.
        seen: All that the server says of it; a ``Cutoff`` that gets it need not ask again.
    """

    view_on: str | None = None
    pipeline: Sequence[Mapping[str, Any]] = ()
    time_field: str | None = None
    clustered: bool = False
    seen: Mapping[str, Any] | None = None


def kind_of_collection(connection: Connection, database: str, collection: str) -> CollectionKind | None:
    """What a collection is; None if there is none of that name."""
    with translated(f"reading {database}"):
        for found in connection.client[database].list_collections(filter={"name": collection}):
            options = found.get("options", {})
            if found.get("type") == "view":
                return CollectionKind(options["viewOn"], tuple(options.get("pipeline", ())), seen=found)
            time_field = options.get("timeseries", {}).get("timeField")
            return CollectionKind(time_field=time_field, clustered="clusteredIndex" in options, seen=found)
    return None


def check_pipeline(connection: Connection, database: str, collection: str, stages: Sequence[Mapping[str, Any]]) -> None:
    """Let the server plan a pipeline without running it.

    Raises:
        PipelineError: The server refuses it; its own words say which stage and why.
    """
    plan = {"aggregate": collection, "pipeline": list(stages), "cursor": {}}
    with translated(f"planning the pipeline over {database}.{collection}"):
        try:
            connection.explain(database, plan)
        except driver.OperationFailure as error:
            if error.code == _NO_RIGHT:
                raise
            reason = redact(str(error))
            raise PipelineError(
                f"pipeline over {collection}: the server refuses it: {reason}", "Correct the stage that it names."
            ) from None


_SECONDARY = Secondary().mode
_SOON = 3.0
"""How long a secondary is looked for, in s."""
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


def preference_of(name: str) -> Any:
    """A read preference by its name, such as ``"secondary"`` or ``"secondaryPreferred"``.

    Raises:
        SettingsError: There is no such preference.
    """
    known = {
        each.lower(): each for each in ("primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest")
    }
    if str(name).lower() not in known:
        raise SettingsError(f"read_preference={name!r}", nearest(str(name), list(known.values())))
    return make_read_preference(read_pref_mode_from_name(known[str(name).lower()]), None)


def check_readable(connection: Connection, preference: Any, doing: str) -> None:
    """Raise, before any work, if ``"secondary"`` is asked for and there is none; others are waited for as they come.

    Where a member of the set is not known yet, it is looked for, a few s at most.

    Args:
        connection: The server.
        preference: One of the driver's read preferences.
        doing: What is asked for, for the message.

    Raises:
        UnreachableError: No secondary answers; says which members there are.
    """
    seen = connection.client.topology_description
    if preference.mode != _SECONDARY or not seen.topology_type_name.startswith("ReplicaSet"):
        return
    if seen.has_readable_server(preference):
        return
    members = seen.server_descriptions().values()
    if not all(member.is_server_type_known for member in members):
        with suppress(driver.PyMongoError), pymongo.timeout(_SOON):
            connection.client.admin.command("ping", read_preference=preference)
            return
    shown = ", ".join(f"{member.address[0]}:{member.address[1]} ({_role(member)})" for member in members)
    raise UnreachableError(
        f"{doing}: replica set {connection.server.replica_set} has no secondary that answers; its members: {shown}",
        'Leave read_preference out, or give "secondaryPreferred", which reads the primary while there is no secondary.',
    )


def _role(member: Any) -> str:
    return {"RSPrimary": "the primary", "RSSecondary": "a secondary", "Unknown": "no answer"}.get(
        member.server_type_name, "neither primary nor secondary"
    )


def round_trip(connection: Connection) -> float:
    """About how long the nearest member of a server takes to answer, in s; 0 while it is not known."""
    members = connection.client.topology_description.server_descriptions().values()
    return min((member.round_trip_time or 0.0 for member in members), default=0.0)

"""A connection to a MongoDB, embedded or not: the client, what the server can do, and transactions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pymongo
from bson.codec_options import DatetimeConversion
from pymongo import MongoClient
from pymongo.errors import ConfigurationError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from nemesyst.database.address import explained, options_of, shown
from nemesyst.database.translate import closed, no_replica_set, translated
from nemesyst.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pymongo.client_session import ClientSession
    from pymongo.database import Database

    from nemesyst.database.reconnect import Reconnect

Document = dict[str, Any]
Result = TypeVar("Result")

_LASTING = 30_000
"""How long an operation looks for a primary, in ms: longer than an election takes."""

_SERVERS_OWN = ("admin", "local", "config")


@dataclass(frozen=True)
class Server:
    """What the server at the other end is."""

    version: tuple[int, ...]
    replica_set: str | None
    sharded: bool

    @property
    def transactions(self) -> bool:
        """Whether it has transactions and change streams."""
        return self.sharded or self.replica_set is not None


class Connection:
    """A client whose writes are majority-acknowledged and journaled.

    In a forked child it goes on with sockets of its own, of which the driver warns.

    Args:
        address: The address, which may hold a password; never shown.
        timeout: How long the first contact may take, in s.
        options: Options of the driver: ``username``, ``password``, ``tls``, ``readPreference`` ...

    Raises:
        UnreachableError: No server answered within ``timeout``.
        AccessError: The server does not accept the credentials.
        SettingsError: The address or an option is not valid, or would weaken the acknowledgement of writes.
    """

    def __init__(self, address: str, *, timeout: float, options: Mapping[str, Any] | None = None) -> None:
        self.address = shown(address)
        self.closed = False
        self.again: Reconnect | None = None  # how another process connects; set by who connects
        defaults = {
            "w": "majority",
            "journal": True,
            "appname": "nemesyst",
            "uuidRepresentation": "standard",
            "serverSelectionTimeoutMS": _LASTING,
            "connectTimeoutMS": int(timeout * 1000),
        }
        with explained(address):
            self.client: MongoClient[Document] = MongoClient(address, **options_of(address, options or {}, defaults))
        try:
            self.server = self._first_contact(timeout)
        except BaseException:
            self.client.close()
            raise

    def _first_contact(self, timeout: float) -> Server:
        where = self.client.read_preference  # who reads from secondaries needs no primary
        with translated(f"connecting to {self.address}"), pymongo.timeout(timeout):
            hello = self.client.admin.command("hello", read_preference=where)
            version = self.client.admin.command("buildInfo", read_preference=where)["versionArray"]
        return Server(tuple(version[:3]), hello.get("setName"), hello.get("msg") == "isdbgrid")

    @property
    def default_database(self) -> str | None:
        """The database for data that the address names, or None.

        ``/admin`` is none: there it is the database that knows the user.
        """
        try:
            name = self.client.get_default_database().name
        except ConfigurationError:
            return None
        return None if name == "admin" else name

    def database(self, name: str) -> Database[Document]:
        """A database by name.

        Raises:
            DatabaseError: The connection is closed.
        """
        if self.closed:
            raise closed(f"database {name}")
        return self.client[name]

    def explain(self, database: str, command: Document) -> Document:
        """The server's plan of a command; bounds of an index may be dates beyond those of a ``datetime``."""
        options = self.client.codec_options.with_options(datetime_conversion=DatetimeConversion.DATETIME_AUTO)
        return self.client[database].command("explain", command, verbosity="queryPlanner", codec_options=options)

    def own_database(self, name: str, *, any_date: bool = False) -> Database[Document]:
        """A database of ours by name: read at the primary while there is one, so that what was saved is found.

        With ``any_date``, dates beyond those of a ``datetime`` come as ``DatetimeMS``; without, they are an error that
        ends the read.
        """
        auto = DatetimeConversion.DATETIME_AUTO
        options = self.client.codec_options.with_options(datetime_conversion=auto) if any_date else None
        return self.client.get_database(name, options, read_preference=ReadPreference.PRIMARY_PREFERRED)

    def require_transactions(self, doing: str) -> None:
        """Raise, before any work, if the server has no transactions.

        Raises:
            UnsupportedServerError: It is a standalone server.
        """
        if not self.server.transactions:
            raise no_replica_set(doing)

    def transaction(self, doing: str, work: Callable[[ClientSession], Result]) -> Result:
        """Run ``work`` in one transaction: all of its writes become visible at once, or none.

        ``work`` may run more than once, when it conflicts with another transaction.
        """
        self.require_transactions(doing)
        with translated(doing), self.client.start_session() as session:
            return session.with_transaction(
                work,
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority", j=True),
                read_preference=ReadPreference.PRIMARY,
            )

    def close(self) -> None:
        """Close the client's sockets."""
        self.closed = True
        self.client.close()


def check_database(setting: str, name: str) -> None:
    """Check the name of a database.

    Raises:
        SettingsError: MongoDB does not allow it, or keeps it for itself; names the setting.
    """
    if name in _SERVERS_OWN:
        problem = "is the server's own"
    elif any(character in name for character in '/\\. "$\0*<>:|?'):
        problem = "holds a character that the name of a database cannot have"
    else:
        return
    raise SettingsError(f"{setting}: {name!r} {problem}", "Choose another name, such as fleet.")

"""The hub that users hold: a database, its feeds and its models behind one object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from nemesyst.database import Connection, check_database, put
from nemesyst.errors import FeedError, SettingsError
from nemesyst.feed import BoundFeed, Feed, bind
from nemesyst.models import Models
from nemesyst.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from pymongo.database import Database

    from nemesyst.database import embedded
    from nemesyst.types import PutReport


def connect(
    address: str | None = None,
    *,
    database: str | None = None,
    state: str | None = None,
    home: str | PathLike[str] | None = None,
    **options: Any,
) -> Hub:
    """Connect to a MongoDB, or to the embedded one, which is started when needed.

    What is not given here comes from ``NEMESYST_*`` variables, then ``nemesyst.toml``, then defaults.

    Args:
        address: ``mongodb://`` or ``mongodb+srv://`` address; none: the embedded server of ``home``.
        database: Database that holds your collections; default: the address's, else ``data``.
        state: Database that holds models and runs.
        home: Folder of the embedded server.
        options: Options of the driver, such as ``username``, ``password``, ``tls``, ``readPreference``.

    Raises:
        UnreachableError: No server answered in time.
        AccessError: The server does not accept the credentials.
        EmbeddedServerError: The embedded server cannot start.
        SettingsError: An argument or setting does not fit.
    """
    given = {"address": address, "database": database, "state": state, "home": home}
    given |= {name: options.pop(name, None) for name in ("username", "password")}  # before those of the environment
    return connect_settings(load_settings({**given, "options": options or None}))


def connect_settings(settings: Settings) -> Hub:
    """Connect as settings say; see :func:`connect`."""
    options = dict(settings.options)
    if settings.address is not None:
        if settings.username is not None:
            options["username"] = settings.username
        if settings.password is not None:
            options["password"] = settings.password.get_secret_value()
        connection = Connection(settings.address.get_secret_value(), timeout=settings.timeout, options=options)
        return Hub(connection, settings)
    from nemesyst.database import embedded  # here: it needs a Unix, and a hub with an address does not

    server = embedded.open_embedded(settings.home, mongod=settings.mongod, cache_gb=settings.cache_gb)
    try:
        options |= {"username": server.username, "password": server.password}
        return Hub(Connection(server.uri, timeout=max(settings.timeout, 30), options=options), settings, server)
    except BaseException:
        server.close()
        raise


class Hub:
    """A database as training feed, model store and deployment channel; made by :func:`connect`.

    Attributes:
        models: The model registry.
        settings: The settings that it was opened with.
    """

    def __init__(self, connection: Connection, settings: Settings, server: embedded.Embedded | None = None) -> None:
        self._connection = connection
        self._embedded = server
        self.settings = settings
        own = None if "database" in settings.model_fields_set else connection.default_database
        self._database = own or settings.database
        try:
            _check_databases(self._database, settings.state)
        except SettingsError:
            self.close()
            raise
        self.models = Models(connection, settings.state)

    def __repr__(self) -> str:
        where = self._connection.address if self._embedded is None else f"embedded in {self._embedded.home}"
        return f"<hub {self._database}, {where}>"

    @property
    def db(self) -> Database[dict[str, Any]]:
        """PyMongo database that holds your collections."""
        return self._connection.database(self._database)

    @property
    def state(self) -> Database[dict[str, Any]]:
        """PyMongo database that holds models and runs."""
        return self._connection.database(self.settings.state)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the embedded server stops soon after its last user has left."""
        self._connection.close()
        if self._embedded is not None:
            self._embedded.close()

    def put(
        self,
        collection: str,
        records: Any,
        *,
        key: str | Sequence[str] | None = None,
        on_conflict: Literal["keep", "replace", "error"] = "keep",
        schema: Mapping[str, Any] | type | None = None,
        source: str | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> PutReport:
        """Store records; what cannot be stored goes to ``<collection>.rejected`` with the reason.

        Args:
            collection: Where the rows go.
            records: Dictionaries, or Arrow, pandas or polars tables: one of them or any iterable of them.
                NumPy arrays are stored packed.
            key: Fields that identify a row. The collection is then clustered on them, and putting the same
                rows again changes nothing.
            on_conflict: What happens to a row whose key is there already: ``"keep"`` the first (costs nothing),
                ``"replace"`` it (5-6x slower) or ``"error"``.
            schema: Python types by field, or a pydantic model; records that break it are rejected.
            source: Where the records come from, for the rejected ones.
            progress: Called with the rows and bytes stored so far.

        Raises:
            SettingsError: A name or the key does not fit.
            ConflictError: A key is there already, with ``on_conflict="error"``.
            DatabaseError: The database cannot store rows; what was stored before stays.

        >>> import nemesyst as nm
        >>> nm.connect().put("telemetry", [{"unit": 1, "t": 0, "air": 3.5}], key=("unit", "t"))  # doctest: +SKIP
        """
        return put(
            self._connection,
            self._database,
            collection,
            records,
            key=key,
            on_conflict=on_conflict,
            schema=schema,
            source=source,
            progress=progress,
        )

    def feed(
        self, spec: Feed | Mapping[str, Any] | str, *, params: Mapping[str, Any] | None = None, **arguments: Any
    ) -> BoundFeed:
        """Bind a feed to this database.

        Args:
            spec: A :class:`nemesyst.Feed`; the recorded feed of a version (``version.feed``); or the name of a
                collection and the arguments of one.
            params: Values of the pipeline's parameters; they come before the specification's own.
            arguments: With a name: arguments of :class:`nemesyst.Feed`.

        Raises:
            FeedError: No such collection, a pipeline that the server refuses, a field that no document has.
        """
        if isinstance(spec, Mapping):
            spec = Feed.from_dict(spec)
        if isinstance(spec, Feed):
            if arguments:
                raise FeedError(
                    f"hub.feed: a nm.Feed and {', '.join(arguments)} are given",
                    "Put them into the nm.Feed, or give the name of a collection instead of it.",
                )
            return bind(self._connection, self._database, spec, params=params)
        return bind(self._connection, self._database, _spec(spec, params, arguments))


def _check_databases(database: str, state: str) -> None:
    check_database("database", database)
    check_database("state", state)
    if database.lower() == state.lower():  # MongoDB does not let names differ in case alone
        raise SettingsError(
            f"database and state are both {database!r}", "Give two names: your data is kept apart from our own state."
        )


def _spec(collection: str, params: Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> Feed:
    try:
        return Feed(collection, params=params, **arguments)
    except TypeError as error:
        raise FeedError(
            f"hub.feed: {str(error).removeprefix('Feed.__init__() ')}", "See help(nemesyst.Feed)."
        ) from None

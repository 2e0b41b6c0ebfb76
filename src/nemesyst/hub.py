"""The hub that users hold: a database, its feeds and its models behind one object."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Self

from nemesyst.database import Connection, Reconnect, blobs, check_database, check_readable, preference_of, put
from nemesyst.errors import FeedError, SettingsError
from nemesyst.feed import Asked, BoundFeed, Explanation, Feed, Place, Shard, bind, explain
from nemesyst.models import Models
from nemesyst.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from os import PathLike

    from pymongo.database import Database

    from nemesyst.database import RateLimit, embedded
    from nemesyst.feed import cache
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
        address = settings.address.get_secret_value()
        connection = Connection(address, timeout=settings.timeout, options=options)
        connection.again = Reconnect(address, timeout=settings.timeout, options=options)
        return Hub(connection, settings)
    from nemesyst.database import embedded  # here: it needs a Unix, and a hub with an address does not

    server = embedded.open_embedded(settings.home, mongod=settings.mongod, cache_gb=settings.cache_gb)
    try:
        options |= {"username": server.username, "password": server.password}
        connection = Connection(server.uri, timeout=max(settings.timeout, 30), options=options)
        connection.again = Reconnect(
            None, timeout=settings.timeout, options=settings.options, home=settings.home, mongod=settings.mongod
        )
        return Hub(connection, settings, server)
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
        again = partial(_replay, weakref.ref(self))
        self.models = Models(connection, settings.state, blobs.cache_of(settings), again)

    def __repr__(self) -> str:
        where = self._connection.address if self._embedded is None else f"embedded in {self._embedded.home}"
        return f"<hub {self._database}, {where}>"

    @property
    def connection(self) -> Connection:
        """The connection to the server, for transactions."""
        return self._connection

    @property
    def db(self) -> Database[dict[str, Any]]:
        """PyMongo database that holds your collections."""
        return self._connection.database(self._database)

    @property
    def state(self) -> Database[dict[str, Any]]:
        """PyMongo database that holds models and runs."""
        return self._connection.database(self.settings.state)

    @property
    def runs(self) -> Any:
        """The runs of jobs (``nemesyst.run.Runs``): their records, what they logged and printed."""
        return import_module("nemesyst.run").Runs(self)  # by name, as it is above the hub

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

    def feed(  # noqa: PLR0913 - each is a keyword of its own
        self,
        spec: Feed | Mapping[str, Any] | str,
        *,
        params: Mapping[str, Any] | None = None,
        as_of: Any = None,
        shard: tuple[int, int] | None = None,
        even: bool = False,
        cache: bool = True,
        read_preference: str | None = None,
        bytes_per_second: float | None = None,
        prepared: Mapping[str, Any] | None = None,
        **arguments: Any,
    ) -> BoundFeed:
        """Bind a feed to this database.

        Args:
            spec: A :class:`nemesyst.Feed`; the recorded feed of a version (``version.feed``); or the name of a
                collection and the arguments of one.
            params: Values of the pipeline's parameters; they come before the specification's own.
            as_of: The cutoff: a ``datetime``, an ISO text or a cluster time; None: now.
            shard: Rank and number of ranks, each of which gets its share of the rows.
            even: Whether all ranks make the same number of batches, which then differ a little in size.
            cache: Whether decoded rows are kept on this machine.
            read_preference: Which members are read, such as ``"secondary"``; None: as the hub reads.
            bytes_per_second: How fast to read at most, so that the database's other work is not disturbed.
            prepared: The recorded feed of a version (``version.feed``), of which scale, categories and class weights
                are used instead of those of these rows, so that training goes on in the same units.
            arguments: With a name: arguments of :class:`nemesyst.Feed`.

        Raises:
            FeedError: No such collection, a pipeline that the server refuses, a field that no document has.
            UnreachableError: A secondary is to be read, and there is none.
        """
        if isinstance(spec, str):
            spec = _spec(spec, params, arguments)
        elif arguments and isinstance(spec, Feed | Mapping):
            raise FeedError(
                f"hub.feed: a nm.Feed and {', '.join(arguments)} are given",
                "Put them into the nm.Feed, or give the name of a collection instead of it.",
            )
        place = Place(
            self._connection,
            self._database,
            self.settings.state,
            self._cache() if cache else None,
            None if read_preference is None else self._preference(read_preference),
            None if bytes_per_second is None else _limit(bytes_per_second),
        )
        asked = Asked(as_of, _shard(shard, even=even), prepared=None if prepared is None else prepared.get("prepared"))
        return bind(place, spec, params=params, asked=asked)

    def explain(self, spec: Feed | str, *, params: Mapping[str, Any] | None = None, **arguments: Any) -> Explanation:
        """How a feed would be read, and why: what runs in chunks, and which index it uses or lacks. Reads no rows.

        Args:
            spec: A :class:`nemesyst.Feed`, or the name of a collection and the arguments of one.
            params: Values of the pipeline's parameters.
            arguments: With a name: arguments of :class:`nemesyst.Feed`.

        Raises:
            FeedError: No such collection, or a pipeline that the server refuses.
        """
        made = spec if isinstance(spec, Feed) else _spec(spec, params, arguments)
        if params is not None and not isinstance(params, Mapping):
            raise FeedError(f"hub.explain: params={params!r} is not a dict", 'Write params={"site": 12}.')
        filled = made.with_(params={**(made.params or {}), **(params or {})})
        return explain(Place(self._connection, self._database, self.settings.state), filled)

    def _preference(self, name: str) -> Any:
        preference = preference_of(name)
        check_readable(self._connection, preference, f"hub.feed: read_preference={name!r}")
        return preference

    def _cache(self) -> cache.Cache | None:
        from nemesyst.feed import cache

        return cache.Cache.of(self.settings) if self.settings.cache_size else None


def _shard(shard: Any, *, even: bool) -> Shard:
    pair = (0, 1) if shard is None else tuple(shard) if isinstance(shard, tuple | list) else ()
    whole = len(pair) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in pair)
    if not whole or not 0 <= pair[0] < pair[1]:
        raise FeedError(f"hub.feed: shard={shard!r}", "Give (rank, number of ranks), such as shard=(0, 4).")
    return Shard(pair[0], pair[1], bool(even))


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


def _replay(hub: weakref.ref[Hub], ref: str, **asked: Any) -> Any:
    """Train a version again; by name, as the stages are above the hub."""
    return import_module("nemesyst.stages").replay(hub(), ref, **asked)


def _limit(bytes_per_second: float) -> RateLimit:
    from nemesyst.database import RateLimit

    return RateLimit(bytes_per_second)

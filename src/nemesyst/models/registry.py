"""The registry of models that users hold as ``hub.models``: one method for each thing to do, done elsewhere."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from nemesyst.database import blobs, translated
from nemesyst.errors import ReplayError
from nemesyst.models import aliases as moves
from nemesyst.models import collecting, curves, deleting, loading, queries
from nemesyst.models.bulk import save_many
from nemesyst.models.catalogue import Catalogue
from nemesyst.models.comparing import Comparing
from nemesyst.models.reference import Reference
from nemesyst.models.saving import Saving, save
from nemesyst.models.store import Store

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from datetime import datetime
    from os import PathLike

    from nemesyst.database import Connection, NodeCache
    from nemesyst.models.ancestry import Ancestry
    from nemesyst.models.exchange import Exported
    from nemesyst.models.records import Move
    from nemesyst.types import Version

_MONTH = timedelta(days=30)


class Models(Comparing):
    """Stores models as numbered versions, and finds them by reference (:class:`Reference` has the grammar).

    Reading needs a read role alone. Writing needs transactions, so a replica set.

    Args:
        connection: The server.
        state: Name of the state database.
        cache: Where this node keeps verified blobs; None: nowhere.
        retrain: What trains a version again; see :meth:`replay`.
    """

    def __init__(
        self,
        connection: Connection,
        state: str,
        cache: NodeCache | None = None,
        retrain: Callable[..., Any] | None = None,
    ) -> None:
        self._retrain = retrain
        self._store = Store(connection, state, Catalogue(connection, state), blobs.Blobs(connection, state, cache))

    def __repr__(self) -> str:
        return f"<models in database {self._store.state}>"

    def save(  # noqa: PLR0913 - a record has many fields, and each is a keyword
        self,
        model: Any,
        name: str,
        *,
        feed: Any = None,
        build: Callable[..., Any] | None = None,
        architecture: str | None = None,
        args: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        parent: str | Version | None = None,
        learner: Mapping[str, Any] | None = None,
        optimizer: Any = None,
        also: str | Sequence[str] = (),
        tags: Mapping[str, Any] | None = None,
        text: str | None = None,
        golden: Any = None,
        curves: bytes | None = None,
        seconds: float | None = None,
    ) -> Version:
        """Store a model as the next version of a name; it is visible when all of it is stored, or not at all.

        Args:
            model: A model of a supported framework, or a dict of NumPy arrays.
            name: Name, with or without an entity: ``"air"``, ``"air[site12]"``.
            feed: The feed that it learned from, or its specification.
            build: The function that makes such a model from ``args``; only checked and named, never stored.
            architecture: Name under which readers register that function (:func:`nemesyst.architecture`).
            args: Arguments of ``build``; JSON values.
            metrics: Numbers, each finite or NaN.
            parent: Reference of the version that training went on from.
            learner: What trained it, such as function and arguments; JSON values.
            optimizer: Its optimiser, so that training can go on.
            also: Other forms to store, checked to give the same outputs: ``"onnx"``.
            tags: Text, numbers or booleans by name, to find it by.
            text: What the model is for.
            golden: A few inputs (an array, or a batch of the feed) that it is tested with when it is loaded; None: the
                first rows of the feed; False: none.
            curves: Metrics over time, as JSON text.
            seconds: Time that training took, in s.

        Raises:
            SettingsError: A name, metric or argument does not fit; nothing has been written.
            ModelError: A type of model that is not known, or a part that cannot be stored.
            UnknownModelError: There is no such parent.
            UnsupportedServerError: The server has no transactions.
        """
        saving = Saving(
            model, name, feed, build, architecture, args, metrics, parent, learner, optimizer, also, tags, text,
            golden, curves, seconds,
        )  # fmt: skip
        self._store.connection.require_transactions(f"save model {Reference.parse_target(name).path}")
        return save(self._store, saving)

    def save_many(self, savings: Iterable[tuple[str, Any] | Saving], **common: Any) -> builtins.list[Version]:
        """Store many models, such as one for each site, faster than one by one.

        Each version is stored whole or not at all. Of a list, all are checked before the first one is stored; if the
        server fails on the way, some may have been stored.

        Args:
            savings: Pairs ``(name, model)``, or :class:`nemesyst.Saving` with what is recorded of each.
            common: What is recorded of all of them, as in :meth:`save`.

        Returns:
            The versions, in their order.
        """
        self._store.connection.require_transactions("save models")
        return save_many(self._store, savings, common)

    def check_writable(self, doing: str) -> None:
        """Find out, before any work, whether the server can store models and lets this user do it.

        Raises:
            UnsupportedServerError: It has no transactions.
            AccessError: The user may not write to the state database.
        """
        self._store.connection.require_transactions(doing)
        self._store.catalogue.prepare()

    def load(
        self,
        ref: str,
        *,
        into: Any = None,
        build: Callable[..., Any] | None = None,
        trust: Collection[str] = (),
        device: str | None = None,
        optimizer: Any = None,
        verify: bool = False,
        form: Literal["onnx"] | None = None,
    ) -> Any:
        """Load a model; runs nothing that the stored bytes bring.

        Args:
            ref: A reference, such as ``"air@champion"``.
            into: A model to load the weights into, in place; unchanged if they do not fit.
            build: Else a function of yours that makes one from the recorded arguments; without it the registered
                architecture of the version does (:func:`nemesyst.architecture`).
            trust: Names of types that you allow beyond the known harmless ones, for one version alone (``air@3``).
            device: Where to put it: ``"cpu"``, ``"gpu"``, ``"gpu:1"``; None: where it is.
            optimizer: An optimiser of that model, to restore its state, too.
            verify: Compute the golden batch again and compare the outputs.
            form: ``"onnx"``: the stored ONNX form instead.

        Returns:
            ``into``, or what ``build`` made, with the weights in it; or the stored model itself: arrays are read-only
            views of a file where they are large. With ``optimizer``, a pair of the model and the optimiser.

        Raises:
            UnknownModelError: No such model, version or alias.
            ModelError: Neither ``into`` nor ``build`` where one is needed, or a ``build`` that does not fit.
            MismatchError: The weights do not fit the model; names the parameter and both shapes.
            SelfTestError: The outputs are not those of the golden batch.
            UntrustedError: The bytes name types that are not allowed.
            CorruptBlobError: The stored bytes are not the ones that were saved.
        """
        wanted = loading.Wanted(into, build, trust, device, optimizer, verify, form)
        return loading.load(self._store, ref, wanted)

    def content(self, ref: str, name: str) -> memoryview:
        """The verified bytes of one content of a version: ``"model"``, ``"optimizer"``, ``"onnx"``, ``"golden"`` ...

        Raises:
            UnknownModelError: No such model, version or alias.
            ModelError: The version has no such content.
            CorruptBlobError: The stored bytes are not the ones that were saved.
        """
        return loading.content(self._store, ref, name)

    def curves(self, ref: str) -> dict[str, builtins.list[builtins.list[float]]]:
        """Metrics over time: points ``[first step, mean, least, largest, count]`` by name; empty if there are none."""
        version = self.get(ref)
        return curves.loaded(self.content(version.ref, "curves"), version.ref) if "curves" in version.contents else {}

    def get(self, ref: str) -> Version:
        """The record of a version.

        Raises:
            UnknownModelError: No such model, version or alias.
        """
        with translated(f"look up {ref}"):
            return loading.record(self._store, Reference.parse(ref))

    def lineage(self, ref: str) -> Ancestry:
        """What a version came from: rows, code and parents; prints as a tree.

        Raises:
            UnknownModelError: No such model, version or alias.
        """
        from nemesyst.models.ancestry import ancestry

        return ancestry(self.get, ref)

    def replay(self, ref: str, *, script: str | PathLike[str] | None = None, anyway: bool = False) -> Any:
        """Train a version again from the rows and the code that it came from, and compare the weights.

        Args:
            ref: The version.
            script: The file with its learner; None: the path in its record.
            anyway: Whether to go on where rows or code are others, and compare all the same.

        Returns:
            A record that prints what came of it: ``identical`` (bit for bit), ``difference`` (the largest between two
            weights, relative to the largest of their array), ``tolerance``, ``same``, and ``differences`` of code and
            environment.

        Raises:
            ReplayError: It was not trained by a script, or its rows or code are others; names what differs.
        """
        if self._retrain is None:
            raise ReplayError(f"replay {ref}: this registry belongs to no hub", "Use hub.models.replay.")
        return self._retrain(ref, script=script, anyway=anyway)

    def list(
        self,
        name: str | None = None,
        *,
        where: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        entity: str | None = None,
        limit: int | None = None,
        newest: bool = False,
    ) -> builtins.list[Version]:
        """Every version, or those of a name, or those of a name and entity; ordered by name, entity and number.

        Args:
            name: A name, with or without an entity.
            where: Conditions on metrics: ``{"mae": {"<": 0.3}}`` (also ``<=``, ``>``, ``>=``, ``==``).
            tags: Tags that they have, such as ``{"customer": "north"}``.
            since: From this time on (a ``datetime`` or ISO text; UTC where it says no zone).
            until: Before this time.
            entity: The device or site, of any name.
            limit: At most so many: the newest.
            newest: The newest first.

        Raises:
            SettingsError: ``name`` selects a version, or a condition does not fit.
            UnknownModelError: No model is called so.
        """
        wanted = queries.conditions(where, tags, since, until, entity)
        with translated("list models"):
            return queries.find(self._store.catalogue, name, wanted, limit, newest=newest)

    def query(self, pipeline: Sequence[Mapping[str, Any]]) -> builtins.list[dict[str, Any]]:
        """What an aggregation pipeline over the records gives; the weights are left out.

        Raises:
            PipelineError: A stage is malformed, or writes or runs code.

        >>> hub.models.query([{"$group": {"_id": "$name", "best": {"$min": "$metrics.mae"}}}])  # doctest: +SKIP
        """
        with translated("query models"):
            return queries.aggregate(self._store.catalogue, pipeline)

    def names(self) -> builtins.list[str]:
        """The names of all models, in order."""
        with translated("list the names of models"):
            return queries.names(self._store.catalogue)

    def promote_many(
        self, moves_: Iterable[tuple[str, str] | moves.Promotion], *, why: str | None = None
    ) -> builtins.list[Version]:
        """Move many aliases: all at once up to 1,000 of them; more in steps of 1,000, each of them whole.

        Args:
            moves_: Pairs ``(reference, alias)``.
            why: The reason, for the history.

        Raises:
            UnknownModelError: No such model, version or alias; nothing of its step was moved.
        """
        asked = moves.asked(moves_, why)
        steps = range(0, len(asked), moves.AT_ONCE)
        return [version for n in steps for version in moves.promote(self._store, asked[n : n + moves.AT_ONCE])]

    def rollback(self, ref: str, *, why: str | None = None) -> Version:
        """Let an alias (``"air@champion"``) mean again what it meant before its last promotion.

        Again and again, it goes further back; versions that were deleted are passed over.

        Returns:
            The version that it means now.

        Raises:
            UnknownModelError: No such alias, or there is nothing before.
            SettingsError: ``ref`` names no alias.
        """
        return moves.rollback(self._store, Reference.parse(ref), why)

    def history(self, ref: str) -> builtins.list[Move]:
        """The promotions and rollbacks of an alias (``"air@champion"``), the first one first.

        Raises:
            UnknownModelError: No such alias.
            SettingsError: ``ref`` names no alias.
        """
        with translated(f"read the history of {ref}"):
            return moves.history(self._store, Reference.parse(ref))

    def delete(
        self, refs: str | Sequence[str], *, aliases: bool = False, why: str | None = None
    ) -> builtins.list[Version]:
        """Delete versions, all of them or none; their numbers are not given again, and :meth:`gc` frees their bytes.

        Args:
            refs: References, at most 1,000.
            aliases: Whether versions that have aliases go, too, with their aliases.
            why: The reason, kept with the number.

        Raises:
            UnknownModelError: No such model, version or alias.
            ModelError: A version has an alias.
        """
        given = [refs] if isinstance(refs, str) else refs
        return deleting.delete(self._store, given, aliases=aliases, why=why)

    def gc(
        self,
        *,
        dry_run: bool = False,
        older_than: float | timedelta = collecting.HOUR,
        plans: timedelta | None = _MONTH,
    ) -> collecting.Collected:
        """Free what is of no more use: contents of deleted versions, of savers that died, old plans, old checkpoints.

        Safe beside savers, loaders and feeds at work.

        Args:
            dry_run: Only count.
            older_than: What was written or claimed in so many s (or this time) is left alone; what is still being
                written, for a minute at least.
            plans: Plans of feeds that were not used for so long go, unless a version came from them, and checkpoints of
                runs that nobody has resumed for so long; None: none.
        """
        return collecting.collect(self._store, older_than=older_than, plans=plans, dry_run=dry_run)

    def export(self, refs: str | Sequence[str], file: str | PathLike[str]) -> Exported:
        """Write versions into one verified file, whole or not at all; a file that is there is replaced.

        Raises:
            UnknownModelError: No such model, version or alias.
            RecordError: The file cannot be written.
        """
        from nemesyst.models.exchange import export

        return export(self._store, refs, file)

    def import_(
        self, file: str | PathLike[str], *, numbers: Literal["next", "keep"] = "next", aliases: bool = False
    ) -> builtins.list[Version]:
        """Store the versions of a file that :meth:`export` wrote.

        Args:
            file: The file.
            numbers: ``"next"``: each gets the next number of its name here; ``"keep"``: the number that it had,
                refused if that was given before.
            aliases: Whether the aliases that they had are moved to them.

        Raises:
            CorruptBlobError: The file is damaged, or something else.
            ModelError: A number was given before.
            RecordError: The file cannot be read.
        """
        from nemesyst.models.exchange import import_

        return import_(self._store, file, numbers=numbers, aliases=aliases)

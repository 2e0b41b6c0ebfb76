"""The registry of models that users hold as ``hub.models``."""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nemesyst.database import blobs, translated
from nemesyst.errors import MismatchError, ModelError
from nemesyst.frameworks import adapter_for, adapter_named
from nemesyst.models import aliases
from nemesyst.models.arguments import check_args, check_build, check_metrics, feed_text, name_of
from nemesyst.models.catalogue import Catalogue
from nemesyst.models.records import content_of, environment, version_of
from nemesyst.models.reference import Reference

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Collection, Mapping

    from nemesyst.database import Connection
    from nemesyst.models.records import Move
    from nemesyst.types import Version


class Models:
    """Stores models as numbered versions, and finds them by reference (:class:`Reference` has the grammar).

    Reading needs a read role alone. Writing needs transactions, so a replica set.

    Args:
        connection: The server.
        state: Name of the state database.
    """

    def __init__(self, connection: Connection, state: str) -> None:
        self._connection = connection
        self._state = state
        self._catalogue = Catalogue(connection, state)
        self._blobs = blobs.Blobs(connection, state)

    def __repr__(self) -> str:
        return f"<models in database {self._state}>"

    def save(
        self,
        model: Any,
        name: str,
        *,
        feed: Any = None,
        build: Callable[..., Any] | None = None,
        args: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
        parent: str | Version | None = None,
        learner: Mapping[str, Any] | None = None,
    ) -> Version:
        """Store a model as the next version of a name; it is visible when all of it is stored, or not at all.

        Args:
            model: A PyTorch module, a scikit-learn estimator, or a dict of NumPy arrays.
            name: Name, with or without an entity: ``"air"``, ``"air[site12]"``.
            feed: The feed that it learned from, or its specification.
            build: The function that makes such a model from ``args``; only checked and named, never stored.
            args: Arguments of ``build``; JSON values.
            metrics: Numbers, each finite or NaN.
            parent: Reference of the version that training went on from.
            learner: What trained it, such as function and arguments; JSON values.

        Raises:
            SettingsError: A name, metric or argument does not fit; nothing has been written.
            ModelError: A type of model that is not known, or a part that cannot be stored.
            UnknownModelError: There is no such parent.
            UnsupportedServerError: The server has no transactions.
        """
        target = Reference.parse_target(name)
        doing = f"save model {target.path}"
        self._connection.require_transactions(doing)
        adapter = adapter_for(model)
        record: dict[str, Any] = {
            "framework": adapter.name,
            "metrics": check_metrics(metrics),
            "args": check_args(args),
            "feed": feed_text(feed),
            "rows": dict(getattr(feed, "rows", {})),
            "learner": None if learner is None else check_args(learner, "learner"),
            "build": name_of(build),
            "node": platform.node(),
            "environment": environment(adapter),
        }
        if build is not None:
            check_build(build, record["args"], target.path)
        record["parent"] = None if parent is None else self.get(str(parent)).ref
        self._catalogue.prepare()
        content = self._blobs.store(adapter.dump(model), doing)
        return self._insert(target, record, content, doing)

    def check_writable(self, doing: str) -> None:
        """Find out, before any work, whether the server can store models and lets this user do it.

        Raises:
            UnsupportedServerError: It has no transactions.
            AccessError: The user may not write to the state database.
        """
        self._connection.require_transactions(doing)
        self._catalogue.prepare()

    def load(
        self,
        ref: str,
        *,
        into: Any = None,
        build: Callable[..., Any] | None = None,
        trust: Collection[str] = (),
    ) -> Any:
        """Load a model; runs nothing that the stored bytes bring.

        Args:
            ref: A reference, such as ``"air@champion"``.
            into: A model to load the weights into, in place; unchanged if they do not fit.
            build: Else a function of yours that makes one from the recorded arguments.
            trust: Names of types that you allow beyond the known harmless ones (scikit-learn).

        Returns:
            ``into``, or what ``build`` made, with the weights in it; or the stored model itself.

        Raises:
            UnknownModelError: No such model, version or alias.
            ModelError: Neither ``into`` nor ``build`` where one is needed, or a ``build`` that does not fit.
            MismatchError: The weights do not fit the model; names the parameter and both shapes.
            UntrustedError: The bytes name types that are not allowed.
            CorruptBlobError: The stored bytes are not the ones that were saved.
        """
        with translated(f"load {ref}"):
            document = self._catalogue.find(Reference.parse(ref), data=True)
        version = version_of(document)
        adapter = adapter_named(version.framework)
        if into is None and build is not None:
            check_build(build, version.args, version.ref)
            into = adapter.ready(build(**version.args))
        if into is None and adapter.needs_target:
            made = "" if version.build is None else f" It was saved with build={version.build}, args={version.args}."
            raise ModelError(
                f"{version.ref} holds weights alone, which need a model to go into",
                f"Pass into=a model, or build=a function that makes one.{made}",
            )
        if into is not None and (own := adapter_for(into)).name != adapter.name:
            raise MismatchError(
                f"{version.ref} was saved by the adapter {adapter.name}, but a model of {own.name} is to take it",
                f"Give a model of {adapter.name}.",
            )
        data = self._blobs.load(content_of(document, version.ref), version.ref)
        try:
            return adapter.load(data, into, trust=trust)
        except ModelError as error:
            raise type(error)(f"{version.ref}: {error.message}", error.remedy) from error

    def get(self, ref: str) -> Version:
        """The record of a version.

        Raises:
            UnknownModelError: No such model, version or alias.
        """
        with translated(f"look up {ref}"):
            return self._catalogue.version(Reference.parse(ref))

    def list(self, name: str | None = None) -> builtins.list[Version]:
        """Every version, or those of a name, or those of a name and entity; ordered by name, entity and number.

        Raises:
            SettingsError: ``name`` selects a version.
            UnknownModelError: No model is called so.
        """
        wanted: dict[str, Any] = {}
        if name is not None:
            target = Reference.parse_target(name)
            wanted = {"name": target.name} | ({} if target.entity is None else {"entity": target.entity})
        with translated("list models"):
            found = self._catalogue.list(wanted)
            if name is not None and not found:
                self._catalogue.find(target)  # raises, saying which there are
        return sorted(found, key=lambda each: (each.name, each.entity or "", each.number))

    def names(self) -> builtins.list[str]:
        """The names of all models, in order."""
        with translated("list the names of models"):
            return sorted(self._catalogue.versions.distinct("name", {"name": {"$type": "string"}}))

    def promote(self, ref: str, alias: str, *, why: str | None = None) -> Version:
        """Let an alias such as ``champion`` mean a version from now on, in one step; the move is recorded.

        Returns:
            The version. Promoting it to what it already is changes nothing.

        Raises:
            UnknownModelError: No such model, version or alias.
            SettingsError: ``alias`` is no name for one.
        """
        return aliases.promote(self._connection, self._catalogue, Reference.parse(ref), alias, why)

    def rollback(self, ref: str, *, why: str | None = None) -> Version:
        """Let an alias (``"air@champion"``) mean again what it meant before its last promotion.

        Again and again, it goes further back.

        Returns:
            The version that it means now.

        Raises:
            UnknownModelError: No such alias, or there is nothing before.
            SettingsError: ``ref`` names no alias.
        """
        return aliases.rollback(self._connection, self._catalogue, Reference.parse(ref), why)

    def history(self, ref: str) -> builtins.list[Move]:
        """The promotions and rollbacks of an alias (``"air@champion"``), the first one first.

        Raises:
            UnknownModelError: No such alias.
            SettingsError: ``ref`` names no alias.
        """
        with translated(f"read the history of {ref}"):
            return aliases.history(self._catalogue, Reference.parse(ref))

    def _insert(self, target: Reference, record: dict[str, Any], content: blobs.Content, doing: str) -> Version:
        """Insert a record under the next number; two savers at once conflict, and one takes the number after."""
        record |= {"digest": content.digest, "size": content.size}
        record |= {"data": content.data} if content.data is not None else {"blob": content.blob}

        def work(session: Any) -> Version:
            number = self._catalogue.last_number(target, session) + 1
            if content.blob is not None:
                self._blobs.touch(content.blob, session)
            return self._catalogue.insert(replace(target, selector=number), record, session)

        return self._connection.transaction(doing, work)

"""Loading: from a reference to a model; nothing that is stored is run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nemesyst.database import translated
from nemesyst.errors import CorruptBlobError, MismatchError, ModelError, SettingsError
from nemesyst.frameworks import adapter_for, adapter_named
from nemesyst.models import golden
from nemesyst.models.architectures import registered
from nemesyst.models.arguments import check_build, name_of
from nemesyst.models.forms import check_form
from nemesyst.models.records import MODEL, content_of, version_of
from nemesyst.models.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nemesyst.frameworks import Adapter
    from nemesyst.models.records import Document
    from nemesyst.models.store import Store
    from nemesyst.types import Version


@dataclass(frozen=True)
class Wanted:
    """How a model is to be loaded; the arguments of :meth:`nemesyst.Models.load`."""

    into: Any = None
    build: Callable[..., Any] | None = None
    trust: Collection[str] = ()
    device: str | None = None
    optimizer: Any = None
    verify: bool = False
    form: str | None = None


def load(store: Store, ref: str, wanted: Wanted) -> Any:
    """Load a model; see :meth:`nemesyst.Models.load`."""
    reference = Reference.parse(ref)
    name_of(wanted.build)  # refuses what is no function
    _check_trust(reference, wanted.trust)
    with translated(f"load {ref}"):
        document = store.catalogue.find(reference, data=True)
        while True:
            try:
                return _loaded(store, document, wanted)
            except CorruptBlobError:
                again = store.catalogue.find(reference, data=True)  # it may have been deleted and collected meanwhile
                if again["_id"] == document["_id"]:
                    raise
                document = again


def _loaded(store: Store, document: Document, wanted: Wanted) -> Any:
    version = version_of(document)
    adapter = adapter_named(version.framework if wanted.form is None else check_form(wanted.form))
    into = _target(adapter, version, wanted.into, wanted.build) if wanted.form is None else wanted.into
    data = read(store, document, version, wanted.form or MODEL)
    model = _explained(version, adapter.load, data, into, trust=wanted.trust)
    if wanted.device is not None:
        model = adapter.place(model, wanted.device)
    if wanted.verify:
        _explained(version, golden.check, adapter, model, read(store, document, version, "golden"), version.ref)
    if wanted.optimizer is None:
        return model
    state = read(store, document, version, "optimizer")
    return model, _explained(version, adapter.load_optimizer, state, model, wanted.optimizer)


def record(store: Store, ref: Reference) -> Version:
    """The record of a version, with its lineage, however long that is.

    Raises:
        UnknownModelError: No such model, version or alias.
    """
    document = store.catalogue.find(ref)
    version = version_of(document)
    if "lineage" not in version.contents:
        return version
    return replace(version, lineage_text=str(read(store, document, version, "lineage"), "utf-8", "replace"))


def content(store: Store, ref: str, name: str) -> memoryview:
    """The verified bytes of one content of a version."""
    with translated(f"load {ref}"):
        document = store.catalogue.find(Reference.parse(ref), data=True)
    return read(store, document, version_of(document), name)


def read(store: Store, document: Document, version: Version, name: str) -> memoryview:
    """The verified bytes of one content.

    Raises:
        ModelError: There is none.
        CorruptBlobError: The bytes are not the ones that were saved.
    """
    found = content_of(document, name)
    if found is None:
        has = ", ".join(version.contents)
        raise ModelError(f"{version.ref} was saved without {_CALLED.get(name, name)}; it has {has}", _REMEDY.get(name))
    return store.blobs.load(found, version.ref)


_CALLED = {"golden": "a golden batch", "optimizer": "its optimiser's state", "onnx": "an ONNX form"}
_REMEDY = {
    "golden": "Save it with feed= or golden=, or load it without verify=True.",
    "optimizer": "Save it with optimizer=, or begin with a new optimiser.",
    "onnx": 'Save it with also="onnx".',
}


def _check_trust(ref: Reference, trust: Collection[str]) -> None:
    if isinstance(trust, str):
        raise SettingsError(f"trust={trust!r} is a text", f"Write trust=[{trust!r}].")
    if trust and not isinstance(ref.selector, int):
        raise SettingsError(
            f"trust= is for one version, and {ref} means another one as soon as somebody saves or promotes",
            f"Name the version that you know: load('{ref.path}@3', trust=...).",
        )


def _target(adapter: Adapter, version: Version, into: Any, build: Callable[..., Any] | None) -> Any:
    """The model to load into, if one is given or can be made."""
    if into is None and build is None and version.architecture is not None:
        build = registered(version.architecture, version.ref, needed=adapter.needs_target)
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
    return into


def _explained(version: Version, call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """Call what reads stored bytes; its errors name the version."""
    try:
        return call(*given, **named)
    except ModelError as error:
        message = error.message if version.ref in error.message else f"{version.ref}: {error.message}"
        raise type(error)(message, error.remedy) from error
    except (RecursionError, MemoryError) as error:
        raise CorruptBlobError(f"{version.ref}: its bytes cannot be read: {error or type(error).__name__}") from error

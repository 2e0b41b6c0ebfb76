"""What every command shares: the options after its own words, its output, its settings and its hub."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
import typing
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from nemesyst.errors import SettingsError
from nemesyst.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemesyst.hub import Hub

INTERRUPTED = 130
TERMINATED = 143

COMMON: dict[str, Any] = {
    "home": Annotated[Path | None, typer.Option(help="Folder of the embedded server.")],
    "address": Annotated[
        str | None,
        typer.Option(help="Address of a MongoDB; its password belongs in NEMESYST_PASSWORD."),
    ],
    "database": Annotated[str | None, typer.Option(help="Database that holds your collections.")],
    "state": Annotated[str | None, typer.Option(help="Database that holds models and runs.")],
    "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")],
    "json": Annotated[bool, typer.Option("--json", help="Print the result as one JSON value.")],
}
"""Options that every command takes after its own."""


_SECRET = re.compile(r"://[^/?]*:.*@|[?&]\w*(password|authmechanismproperties)=", re.IGNORECASE)
"""A password in an address, or an option that is or may hold one."""


@dataclass(frozen=True)
class Session:
    """What a command works with.

    Attributes:
        given: Settings from the command line; None where not given.
        quiet: Print nothing but errors and, with ``json``, the result.
        json: Print the result as JSON on standard output; everything else goes to standard error.
    """

    given: Mapping[str, Any]
    quiet: bool = False
    json: bool = False

    @functools.cached_property
    def settings(self) -> Settings:
        """The settings, the command line's first."""
        return load_settings(self.given)

    def connect(self, *, create: bool = True) -> Hub:
        """The hub that the settings name; without ``create`` no embedded database is made where there is none.

        Raises:
            SettingsError: There is none.
        """
        from nemesyst.hub import connect_settings

        home = self.settings.home
        if not create and self.settings.address is None and not (home / "db").is_dir():
            raise SettingsError(
                f"there is no database in {home.absolute()}",
                "Go to your project's folder, or name one with --home, or a server with NEMESYST_ADDRESS.",
            )
        return connect_settings(self.settings)

    def say(self, text: str = "") -> None:
        """Tell a person something, unless ``--quiet``; with ``--json`` on standard error."""
        if not self.quiet:
            print(text, file=sys.stderr if self.json else sys.stdout, flush=True)

    def result(self, value: Any, text: str) -> None:
        """Print the command's result: ``value`` as JSON with ``--json``, else ``text``."""
        if self.json:
            print(json.dumps(value, default=plain, ensure_ascii=False), flush=True)
        else:
            self.say(text)


class Terminated(KeyboardInterrupt):
    """The command was asked to end (SIGTERM)."""


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; one that the shell has closed is none."""
    return stream is not None and stream.isatty()


def plain(value: Any) -> Any:
    """Turn records, dates and paths into what JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def command(app: typer.Typer, name: str, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register ``function(session, its own options)`` with the options of every command added.

    >>> app = typer.Typer()
    >>> @command(app, "hello")
    ... def hello(session: Session, who: str) -> None:
    ...     session.result({"hello": who}, f"hello {who}")
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        hints = typing.get_type_hints(function, include_extras=True)

        @functools.wraps(function)
        def run(**values: Any) -> None:
            common = {name: values.pop(name) for name in COMMON}
            session = Session(_given(common), quiet=common["quiet"], json=common["json"])
            try:
                function(session, **values)
            except KeyboardInterrupt as end:  # here, because Typer would swallow it
                asked = isinstance(end, Terminated)
                print("terminated" if asked else "interrupted", file=sys.stderr)
                raise typer.Exit(TERMINATED if asked else INTERRUPTED) from None

        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if name in ("quiet", "json") else None,
                annotation=kind,
            )
            for name, kind in COMMON.items()
        ]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[p.name]) for p in own]
        run.__signature__ = inspect.Signature([*keyword, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in [*keyword, *added]}
        app.command(name, **options)(run)
        return function

    return register


def _given(common: Mapping[str, Any]) -> dict[str, Any]:
    address = common["address"]
    if address and _SECRET.search(address):
        raise SettingsError(
            "--address holds a password, which every user of this machine could read in the process list",
            "Leave it out of the address and put it into NEMESYST_PASSWORD, or the whole into NEMESYST_ADDRESS.",
        )
    return {name: common[name] for name in ("home", "address", "database", "state") if common[name] is not None}

"""``nemesyst db``: the embedded server, by hand."""

from __future__ import annotations

import code
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import typer

import nemesyst
from nemesyst.cli.command import Session, command
from nemesyst.database import embedded
from nemesyst.errors import JobError, SettingsError

if TYPE_CHECKING:
    from nemesyst.settings import Settings

app = typer.Typer(help="The embedded server: start, stop, look at, use by hand.", no_args_is_help=True)

_ADDRESS = "NEMESYST_SHELL_ADDRESS"
_DATABASE = "NEMESYST_SHELL_DATABASE"


@command(app, "start")
def start_server(
    session: Session,
    port: Annotated[int | None, typer.Option(min=1024, max=65535, help="Port to run on from now on.")] = None,
) -> None:
    """Start the embedded server and keep it up until ``nemesyst db stop``."""
    settings = _embedded_only(session)
    found = embedded.pin(settings.home, mongod=settings.mongod, cache_gb=settings.cache_gb, port=port)
    session.result(
        found,
        f"The embedded server runs (process {found.pid}) and stays up until: nemesyst db stop\n"
        f"  address   {found.uri}\n  user      {found.username}\n  password  in {found.secret_file}",
    )


@command(app, "stop")
def stop_server(
    session: Session,
    force: Annotated[bool, typer.Option("--force", help="Stop at once, though processes use it.")] = False,
) -> None:
    """Stop the embedded server; with users, after the last of them has gone."""
    home = _embedded_only(session).home
    was_running = embedded.status(home).running
    found = embedded.stop(home, force=force)
    if found.running:
        text = (
            f"The embedded server is used by {_processes(found.users)}; it stops after the last of them has gone.\n"
            "  To stop it now: nemesyst db stop --force"
        )
    else:
        text = "The embedded server has stopped." if was_running else "The embedded server does not run."
    session.result(found, text)


@command(app, "status")
def server_status(session: Session) -> None:
    """Tell whether the embedded server runs, where, and for whom."""
    found = embedded.status(_embedded_only(session).home)
    session.result(found, "\n".join(f"{name:<10}{value}" for name, value in _rows(found)))


@command(app, "shell")
def shell(session: Session) -> None:
    """Open mongosh on the database if it is installed, else a Python prompt with ``hub``."""
    mongosh = shutil.which("mongosh")
    if mongosh is None:
        with session.connect() as hub:
            code.interact(
                banner="Python with `hub` and `nm`; Ctrl-D ends it.", local={"hub": hub, "nm": nemesyst}, exitmsg=""
            )
        return
    settings = session.settings
    address = settings.address.get_secret_value() if settings.address else None
    if address is not None:
        password = settings.password.get_secret_value() if settings.password else None
        _mongosh(mongosh, _with(address, settings.username, password, settings.options), settings.database)
        return
    with embedded.open_embedded(settings.home, mongod=settings.mongod, cache_gb=settings.cache_gb) as server:
        _mongosh(mongosh, _with(server.uri, server.username, server.password, {}), settings.database)


def _embedded_only(session: Session) -> Settings:
    """The settings, if they mean the embedded server.

    Raises:
        SettingsError: They name another database.
    """
    if session.settings.address is not None:
        raise SettingsError(
            "an address is set, and this command is for the embedded server alone",
            "Leave --address and NEMESYST_ADDRESS out, or manage that server with its own tools.",
        )
    return session.settings


def _mongosh(program: str, address: str, database: str) -> None:
    """Run mongosh; the address, which holds the password, goes by environment, where other users cannot read it."""
    connect = f"db = connect(process.env.{_ADDRESS}).getSiblingDB(process.env.{_DATABASE})"
    script = f"{connect}; void delete process.env.{_ADDRESS};"
    before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is mongosh's own
    try:
        done = subprocess.run(
            [program, "--nodb", "--quiet", "--shell", "--eval", script],
            env={**os.environ, _ADDRESS: address, _DATABASE: database},
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    if done.returncode:
        raise JobError(f"mongosh ended with code {done.returncode}", "Its own message stands above.")


def _with(address: str, username: str | None, password: str | None, options: dict[str, Any]) -> str:
    """Put credentials and options into an address, as mongosh takes them.

    >>> _with("mongodb://db/x", "ann", "p@ss", {"tls": True})
    'mongodb://ann:p%40ss@db/x?tls=true'
    """
    scheme, _, rest = address.partition("://")
    if username is not None:
        who = quote(username, safe="") + (f":{quote(password, safe='')}" if password is not None else "")
        rest = f"{who}@{rest.rpartition('@')[2]}"
    if not options:
        return f"{scheme}://{rest}"
    plain = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
    host, slash, path = rest.partition("/")
    joint = "&" if "?" in path else "?"
    return f"{scheme}://{host}{slash or '/'}{path}{joint}{urlencode(plain)}"


def _rows(found: embedded.Status) -> list[tuple[str, Any]]:
    state = f"runs (process {found.pid}, supervisor {found.supervisor})" if found.running else "does not run"
    rows: list[tuple[str, Any]] = [
        ("server", state + (", pinned" if found.pinned else "")),
        ("folder", found.home),
        ("data", f"{found.size / 1e6:.0f} MB"),
    ]
    if found.port is not None:
        rows += [
            ("address", found.uri),
            ("user", f"{found.username} (password in {found.secret_file})"),
            ("mongod", f"{found.version} ({found.mongod})"),
        ]
    return [*rows, ("users", _processes(found.users))]


def _processes(users: tuple[int, ...]) -> str:
    if not users:
        return "none"
    return ("process " if len(users) == 1 else "processes ") + ", ".join(map(str, users))

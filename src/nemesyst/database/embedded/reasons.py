"""Why a mongod ended, in one sentence with the remedy."""

from __future__ import annotations

import json
import os
import re
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from nemesyst.database.embedded import ports
from nemesyst.database.embedded.checks import disk_full, not_usable
from nemesyst.errors import EmbeddedServerError

if TYPE_CHECKING:
    from pathlib import Path

    from nemesyst.database.embedded.home import Home
    from nemesyst.errors import NemesystError

_TAIL = 1_000_000  # bytes of the log that are looked at

_STARTING = '"msg":"MongoDB starting"'
_ROOM_TO_RUN = 8_000_000
"""Free bytes below which a mongod that is gone has most likely ended for want of room."""

_IN_USE = 100
_OTHER_DATA = re.compile(
    r"UPGRADE PROBLEM|DOWNGRADE PROBLEM|IncompatibleServerVersion|featureCompatibilityVersion document"
    r"|unsupported WiredTiger file version|Invalid feature compatibility version"
)


def reason(home: Home, port: int, code: int, start: int) -> NemesystError:
    """Make an error out of mongod's exit code and of its log from ``start`` on."""
    text = _tail(home.log, start)
    if "DBPathInUse" in text or code == _IN_USE:
        return in_use(home)
    if "No space left on device" in text or "InsufficientDiskSpace" in text:
        return disk_full(home.folder, "mongod could not write there")
    if "Address already in use" in text:
        return ports.taken(port)
    if _OTHER_DATA.search(text):
        return EmbeddedServerError(
            f"the data in {home.db} was made by another version of MongoDB: {_last_words(text, code)}",
            f"Name the mongod that made it in NEMESYST_MONGOD, or move {home.db} away to begin with an empty database.",
        )
    if "Permission denied" in text:
        return not_usable(home.folder, f"Permission denied: {_last_words(text, code)}")
    return EmbeddedServerError(
        f"the embedded server ended: {_last_words(text, code)}",
        f"Look into {home.log} and {home.supervisor_log}.",
    )


def why_away(home: Home) -> NemesystError | None:
    """Why the server of a folder does not answer, if its disk is full; None if it is not, or nobody can tell."""
    with suppress(OSError):
        figures = os.statvfs(home.folder)
        free = figures.f_bavail * figures.f_frsize
        # mongod may ask for more than is left, and its log may have had no room for saying so: hence both
        last_run = _tail(home.log, 0).rpartition(_STARTING)[2]
        if free < _ROOM_TO_RUN or "No space left on device" in last_run:
            return disk_full(home.folder, f"{free / 1e6:.0f} MB are free, and mongod has stopped")
    return None


def in_use(home: Home) -> EmbeddedServerError:
    """The error of a data folder that a mongod has that is not ours."""
    who = "another mongod"
    with suppress(OSError):
        pid = (home.db / "mongod.lock").read_text(encoding="ascii", errors="replace").strip()
        who += f" (process {pid}, perhaps in another container or on another machine)" if pid else ""
    return EmbeddedServerError(
        f"the embedded server's data in {home.db} is in use by {who}",
        "Stop it there, or set NEMESYST_HOME (or --home) to another folder, or connect to it by its address.",
    )


def _tail(log: Path, start: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _last_words(text: str, code: int) -> str:
    """The last error or fatal message of the log."""
    for line in reversed(text.splitlines()):
        with suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and entry.get("s") in ("F", "E"):
                attributes = entry.get("attr", {})
                detail = attributes.get("error") or attributes.get("message") or ""
                return f"{entry.get('msg', '')} {detail if isinstance(detail, str) else json.dumps(detail)}".strip()
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it left with code {code}"

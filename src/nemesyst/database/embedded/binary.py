"""Finding a ``mongod`` that runs on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from nemesyst.errors import EmbeddedServerError

REMEDY = (
    "Run: pip install 'nemesyst[embedded]' (Linux x86-64), or put a mongod on PATH, or name one in NEMESYST_MONGOD, "
    "or give the address of a server in NEMESYST_ADDRESS."
)
OLDEST = (6, 0)
"""The oldest MongoDB that has what we use, clustered collections among it."""

_SLOW = 60  # s; the first run reads 140 MB from the disk


@dataclass(frozen=True)
class Binary:
    """A mongod that runs here; ``version`` is such as ``"6.0.5"``."""

    path: Path
    version: str


def find_mongod(given: Path | None, spare: Path, wheel: Path | None = None) -> Binary:
    """Find a mongod: the given one, else that of the extra ``embedded``, else the one on PATH.

    Args:
        given: The one that the user named; no other is then tried.
        spare: Folder for a copy, should the extra's have no right to run where it cannot be given one.
        wheel: The extra's; looked for when None.

    Raises:
        EmbeddedServerError: There is none, or none that runs; says why.
    """
    if given is not None:
        return _ask(given.expanduser().absolute())
    candidates = [path for path in (_runnable(wheel or wheel_mongod(), spare), _on_path()) if path]
    if not candidates:
        raise EmbeddedServerError("there is no mongod on this machine to run as the embedded server", REMEDY)
    for candidate in candidates[:-1]:
        try:
            return _ask(candidate)
        except EmbeddedServerError:
            continue
    return _ask(candidates[-1])


def wheel_mongod() -> Path | None:
    """The mongod that the extra ``embedded`` installs, found without importing the package it lies in."""
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder, "db", "bin", "mongod")
        if path.is_file():
            return path
    return None


def _on_path() -> Path | None:
    found = shutil.which("mongod")
    return Path(found) if found else None


def _runnable(path: Path | None, spare: Path) -> Path | None:
    """Give the extra's mongod the right to run, which some installers drop; a copy gets it if the original cannot."""
    if path is None or os.access(path, os.X_OK):
        return path
    try:
        path.chmod(path.stat().st_mode | 0o555)
    except OSError:
        return _copy(path, spare / "mongod")
    return path


def _copy(path: Path, to: Path) -> Path:
    if not to.exists() or to.stat().st_size != path.stat().st_size:
        to.parent.mkdir(mode=0o700, exist_ok=True)
        part = to.with_name("mongod.part")
        shutil.copyfile(path, part)
        part.chmod(0o700)
        part.replace(to)
    return to


def _ask(path: Path) -> Binary:
    """Run ``mongod --version``: it tells the version, and whether it runs here at all."""
    if not path.exists():
        raise EmbeddedServerError(f"there is no mongod at {path}", REMEDY)
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, timeout=_SLOW, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _cannot_run(path, str(getattr(error, "strerror", None) or error)) from error
    found = re.search(rb"db version v(\d+\.\d+\.\d+)", done.stdout)
    if done.returncode == 0 and found:
        return _new_enough(Binary(path, found[1].decode()))
    if done.returncode == -signal.SIGILL:
        raise _cannot_run(path, "the processor lacks an instruction that it needs (MongoDB 5 and later need AVX)")
    lines = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
    raise _cannot_run(path, lines[0] if lines else f"it ended with code {done.returncode}")


def _new_enough(binary: Binary) -> Binary:
    if tuple(map(int, binary.version.split(".")[:2])) < OLDEST:
        raise EmbeddedServerError(
            f"the mongod at {binary.path} is version {binary.version}, and {'.'.join(map(str, OLDEST))} is the oldest"
            " that can be the embedded server",
            REMEDY,
        )
    return binary


def _cannot_run(path: Path, why: str) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"the mongod at {path} does not run on this machine: {why}",
        "Install what it lacks, or name another mongod in NEMESYST_MONGOD, or give an address in NEMESYST_ADDRESS.",
    )

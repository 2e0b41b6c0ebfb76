"""Where a node finds a job's script: at its path, or in a copy of its folder that came along."""

from __future__ import annotations

import fnmatch
import getpass
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemesyst.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGEST = 50 << 20
"""Largest folder that goes along, in bytes."""
_KEPT = 30 * 86400.0
"""How long a node keeps a copy that nobody uses, in s."""
_LEFT_OUT = (".*", "__pycache__", "*.egg-info", "node_modules", "wandb", "mlruns", "lightning_logs")


@dataclass(frozen=True)
class Place:
    """Where a script is found.

    Attributes:
        folder: Working folder of the command, on nodes that are this machine.
        bundle: The packed folder of the script, as an object of Ray; None: the nodes are this machine.
        digest: Of the packed folder.
    """

    folder: str
    bundle: Any = None
    digest: str = ""


def pack(script: Path) -> tuple[bytes, str]:
    """The folder of a script, packed, and a digest of it.

    Hidden folders, caches and environments are left out.

    Raises:
        JobError: It is too large to go along.
    """
    folder = script.resolve().parent
    packed, size, digest = io.BytesIO(), 0, hashlib.blake2b(digest_size=12)
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as bundle:
        for path in _files(folder):
            size += path.stat().st_size
            if size > LARGEST:
                raise JobError(
                    f"{script}: its folder goes along to the nodes, and has more than {LARGEST >> 20} MB ({path})",
                    "Put the script, and the modules that it imports, into a folder of their own.",
                )
            name = str(path.relative_to(folder))
            data = path.read_bytes()
            digest.update(f"{name} {len(data)} ".encode() + data)
            about = tarfile.TarInfo(name)
            about.size = len(data)
            bundle.addfile(about, io.BytesIO(data))
    return packed.getvalue(), digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        kept = [name for name in folders if not any(fnmatch.fnmatch(name, each) for each in _LEFT_OUT)]
        folders[:] = sorted(name for name in kept if not (Path(here, name) / "pyvenv.cfg").exists())
        for name in sorted(files):
            path = Path(here, name)
            if not name.startswith(".") and path.is_file():
                yield path


def placed(description: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A job's description with the script's path on this node; the working folder of this process becomes the job's.

    The record of the run keeps the path on the command's machine, so that it is found again.
    """
    if place.bundle is None:
        os.chdir(place.folder)
        return dict(description)
    import ray

    folder = _unpack(place.digest, lambda: ray.get(place.bundle))
    os.chdir(folder)
    path = Path(description["script"])
    return {**description, "script": str(folder / path.name), "origin": description["origin"]}


def _unpack(digest: str, fetch: Any) -> Path:
    """The folder of a bundle on this node; several processes may come at once."""
    root = Path(tempfile.gettempdir()) / f"nemesyst-scripts-{getpass.getuser()}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise JobError(f"{root} belongs to another user", "Have it removed on this node.")
    folder = root / digest
    if folder.is_dir():
        os.utime(folder)
        return folder
    for old in root.iterdir():
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > _KEPT:
                shutil.rmtree(old, ignore_errors=True)
    made = Path(tempfile.mkdtemp(dir=root))
    with tarfile.open(fileobj=io.BytesIO(fetch())) as bundle:
        bundle.extractall(made, filter="data")
    with suppress(OSError):  # another one was faster
        made.rename(folder)
    return folder

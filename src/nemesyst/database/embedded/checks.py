"""What must hold of a folder before a database is put into it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from nemesyst.errors import DiskFullError, EmbeddedServerError

ROOM = 300_000_000
"""Free bytes below which a server is not started: mongod preallocates its journal and ends badly without room."""

_NETWORK = re.compile(
    r"(fuse\.)?(nfs|nfs4|cifs|smb3|smbfs|ceph|sshfs|glusterfs|lustre|gpfs|beegfs\w*|afs|orangefs|pvfs2|ncpfs|coda"
    r"|davfs2?|s3fs|gcsfuse|goofys|mount-s3|mountpoint-s3|rclone|juicefs|curlftpfs|blobfuse2?)"
)


def mounts() -> str:
    """The mounted file systems, as Linux tells them; empty on other systems."""
    try:
        return Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""


def file_system(folder: Path, mountinfo: str) -> str | None:
    """Name the type of file system that a folder is on.

    Args:
        folder: An absolute path without links; it need not exist.
        mountinfo: The text of ``/proc/self/mountinfo``.
    """
    best: tuple[int, str | None] = (0, None)
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if not rest:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields.split()[4])
        # a later mount at the same place hides the earlier one, hence >=
        if len(point) >= best[0] and folder.is_relative_to(point):
            best = (len(point), rest.split()[0])
    return best[1]


def check_local(folder: Path, mountinfo: str) -> None:
    """Refuse a network file system: its locks and its fsync do not hold what a database needs.

    Raises:
        EmbeddedServerError: The folder is on a network file system.
    """
    kind = file_system(folder, mountinfo)
    if kind and _NETWORK.fullmatch(kind):
        raise EmbeddedServerError(
            f"{folder} is on a network file system ({kind}), where a database cannot keep its files safely",
            "Set NEMESYST_HOME (or --home) to a folder on a local disk, or give the address of a server.",
        )


def check_writable(folder: Path) -> None:
    """Refuse a folder that this user cannot write.

    Raises:
        EmbeddedServerError: The folder cannot be written.
    """
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise not_usable(folder, "this user cannot write there")
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise not_usable(folder, "it is on a file system that is mounted read-only")


def check_room(folder: Path, needed: int = ROOM) -> None:
    """Refuse to start a database where there is hardly room left.

    Raises:
        DiskFullError: Less than ``needed`` bytes are free; names folder, room and remedy.
    """
    figures = os.statvfs(folder)
    free = figures.f_bavail * figures.f_frsize
    if free < needed:
        raise disk_full(folder, f"{free / 1e6:.0f} MB are free, {needed / 1e6:.0f} MB are needed to start")


def not_usable(folder: Path, why: str) -> EmbeddedServerError:
    """The error of a folder that cannot be used."""
    return EmbeddedServerError(
        f"the folder of the embedded server, {folder}, cannot be used: {why}",
        "Correct the folder's owner and rights, or set NEMESYST_HOME (or --home) to a folder of your own.",
    )


def disk_full(folder: Path, why: str) -> DiskFullError:
    """The error of a full disk."""
    return DiskFullError(
        f"the disk of the embedded server's folder {folder} is full: {why}",
        "Free some room there, or set NEMESYST_HOME (or --home) to a folder on another disk.",
    )

"""Checks archives of skops before skops reads them."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from typing import TYPE_CHECKING, Any

from nemesyst.errors import CorruptBlobError
from nemesyst.frameworks.sklearn_archive import SCHEMA, View, array_header

if TYPE_CHECKING:
    from nemesyst.frameworks.base import Buffer


def check_archive(data: Buffer) -> None:
    """Refuse what :func:`plain_archive` never writes.

    That is: compressed members (they can unpack to any size), paths, links, doubled names, arrays of pickled objects or
    of more elements than there are bytes, and references that multiply what must be read.

    Raises:
        CorruptBlobError: It has one of these.
    """
    with zipfile.ZipFile(View(data)) as archive:
        _check_members(archive, len(data))
        for name in archive.namelist():
            if name.endswith(".npy"):
                _check_array(archive, name)
            elif name.endswith(".npz"):
                inner = archive.read(name)
                with zipfile.ZipFile(io.BytesIO(inner)) as arrays:
                    _check_members(arrays, len(inner))
                    for each in arrays.namelist():
                        _check_array(arrays, each)
        _count(json.loads(archive.read(SCHEMA)), {})


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if any("/" in name or "\\" in name or name.startswith(".") for name in names) or len(set(names)) != len(names):
        raise CorruptBlobError("the archive has members with paths or doubled names")
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        raise CorruptBlobError("the archive has links as members")
    unpacked = sum(member.file_size for member in members)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members) or unpacked > size:
        raise CorruptBlobError(f"the archive of {size} bytes has compressed members of {unpacked} bytes")


def _check_array(archive: zipfile.ZipFile, name: str) -> None:
    with archive.open(name) as stream:
        count, dtype = array_header(stream)
        held = archive.getinfo(name).file_size - stream.tell()
    if dtype.hasobject:
        raise CorruptBlobError(f"the array {name} holds pickled objects")
    if count * dtype.itemsize != held:
        raise CorruptBlobError(f"the array {name} claims {count} elements of {dtype} in {held} bytes")


def _count(value: Any, sizes: dict[Any, int]) -> int:
    """Number of nodes. Each occurrence of an object must have as many: then following them takes as long as reading."""
    if isinstance(value, list):
        return sum(_count(each, sizes) for each in value)
    if not isinstance(value, dict):
        return 0
    size = 1 + sum(_count(each, sizes) for each in value.values())
    if "__id__" in value and sizes.setdefault(value["__id__"], size) != size:
        raise CorruptBlobError("the archive describes one object in two ways")
    return size

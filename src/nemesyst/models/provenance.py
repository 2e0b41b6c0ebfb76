"""The code that made a model, and where one environment differs from another."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from nemesyst.errors import FeedError
from nemesyst.feed import source_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PATIENCE = 5
"""How long git may take, in s."""


def code_of(function: Callable[..., Any], script: Path | None = None) -> dict[str, Any]:
    """What is known of a function's code: a digest, and the commit that its file belongs to.

    Returns:
        ``source`` (digest of the function and of what it names, or of its file where that cannot be told), ``git``
        (``commit`` and whether the folder is ``dirty``), or None outside of a repository.
    """
    place = script or _file_of(function)
    try:
        digest = source_fingerprint(function)["digest"]
    except FeedError:  # it names something without a text, such as an open file: its whole file stands for it
        digest = None if place is None else _digest(place)
    return {"source": digest, "git": None if place is None else _git(place.resolve().parent)}


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two environments differ, a line each: ``packages.numpy: 2.3.1 then, 2.4.6 now``.

    Packages that only the second one used are no difference.
    """
    found = [
        f"{name}: {then.get(name)} then, {now.get(name)} now"
        for name in ("python", "platform", "processor", "threads")
        if then.get(name) != now.get(name)
    ]
    packages = now.get("packages") or {}
    return found + [
        f"packages.{name}: {number} then, {packages.get(name, 'not used')} now"
        for name, number in (then.get("packages") or {}).items()
        if packages.get(name) != number
    ]


def _file_of(function: Callable[..., Any]) -> Path | None:
    code = getattr(function, "__code__", None)
    path = None if code is None else Path(code.co_filename)
    return path if path is not None and path.is_file() else None


def _digest(path: Path) -> str | None:
    try:
        return blake3(path.read_bytes()).hexdigest()[:32]
    except OSError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    commit = _said(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    status = _said(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": bool(status)}


def _said(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

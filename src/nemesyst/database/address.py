"""Addresses of databases: checked before the driver sees them, and shown without secrets."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pymongo import errors as driver
from pymongo.uri_parser import split_options

from nemesyst.errors import NemesystError, SettingsError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REMEDY = "Check the address and the options of the database."
_WEAKER = {"w": "majority", "journal": True}
"""Options that would acknowledge writes before a majority has them on disk, with the only value that does not."""


def shown(address: str) -> str:
    """An address as it may be shown: without user, password and options.

    >>> shown("mongodb://ann:s3/cr@t@db:27017/fleet?tlsCertificateKeyFilePassword=x")
    'mongodb://***@db:27017/fleet'
    """
    scheme, mark, rest = address.rpartition("://") if "://" in address else ("", "", address)
    hidden, at, place = rest.rpartition("@")  # also where a password is not escaped, as far as it can reach
    return f"{scheme}{mark}{'***' if hidden else ''}{at}{place.partition('?')[0]}"


@contextmanager
def explained(address: str) -> Iterator[None]:
    """Turn what the driver says about an address or an option into one of our errors, naming the address."""
    doing = f"connecting to {shown(address)}"
    try:
        yield
    except NemesystError:
        raise
    except (driver.PyMongoError, ValueError, TypeError, OSError) as error:
        cause = type(error.__cause__)
        if cause.__module__.startswith("dns."):
            raise UnreachableError(
                f"{doing}: its name cannot be looked up: {error}",
                "Check the name and the network; mongodb+srv:// needs a DNS server that knows it, mongodb:// does not.",
            ) from error
        raise SettingsError(f"{doing}: {_without_driver_talk(str(error))}", _REMEDY) from error


def options_of(address: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options to connect with: the given ones, and those defaults that neither they nor the address name.

    Raises:
        SettingsError: The address is not well-formed or has an option that is unknown, or one would weaken the
            acknowledgement of writes.
    """
    query = _query(address)
    named: dict[str, Any] = {}
    if query:
        named = {name.lower(): value for name, value in split_options(query, warn=False).items()}
    named |= {_name(option): value for option, value in given.items()}
    _check_acknowledged(address, named)
    return {**{name: value for name, value in defaults.items() if name.lower() not in named}, **given}


def _query(address: str) -> str:
    rest = address.partition("://")[2]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        raise SettingsError(
            f"connecting to {shown(address)}: the user, the password or an option is not escaped",
            "In an address write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25; or leave the password out of it and "
            "put it into NEMESYST_PASSWORD.",
        )
    return rest.partition("?")[2]


def _name(option: str) -> str:
    return {"j": "journal"}.get(option.lower(), option.lower())


def _check_acknowledged(address: str, named: Mapping[str, Any]) -> None:
    for option, needed in _WEAKER.items():
        if option in named and str(named[option]).lower() != str(needed).lower():
            raise SettingsError(
                f"connecting to {shown(address)}: option {option} is {named[option]!r}, and writes are always "
                f"acknowledged by a majority of the servers, journaled ({option}={needed})",
                f"Leave {option} out of the address and the options.",
            )


def _without_driver_talk(text: str) -> str:
    return text.partition(" Refer to docstring")[0].replace(" or maybe a camelCase version of one?", "?")

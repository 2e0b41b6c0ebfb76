"""Settings: the command line, then ``NEMESYST_*`` variables, then ``nemesyst.toml``, then defaults."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings import SettingsError as SourceError

from nemesyst.errors import SettingsError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

PREFIX = "NEMESYST_"


def settings_file() -> Path:
    """The settings file: ``NEMESYST_CONFIG``, or ``nemesyst.toml`` in the working folder."""
    return Path(os.environ.get(PREFIX + "CONFIG") or "nemesyst.toml")


class Settings(BaseSettings):
    """One frozen, typed object; made by :func:`load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, frozen=True, extra="forbid"
    )

    address: SecretStr | None = Field(None, description="address of a MongoDB; none: the embedded server")
    username: str | None = Field(None, description="user of the database")
    password: SecretStr | None = Field(None, description="password of the user; never on the command line")
    database: str = Field("data", min_length=1, max_length=63, description="database that holds your collections")
    state: str = Field("nemesyst", min_length=1, max_length=63, description="database that holds models and runs")
    options: dict[str, Any] = Field({}, description="options of the MongoDB driver, such as tls or readPreference")
    timeout: float = Field(4.0, gt=0, description="how long to look for the database before giving up, in s")
    home: Path = Field(Path(".nemesyst"), description="folder of the embedded server and of the cache")
    cache: Path | None = Field(None, description="folder of what may be deleted at any time; none: cache in home")
    mongod: Path | None = Field(None, description="mongod to run as the embedded server; none: the extra's, or PATH's")
    cache_gb: float = Field(0.5, ge=0.25, description="memory that the embedded server caches data in, in GB")
    data: Path | None = Field(None, description="folder of data files for demos, tests and benchmarks")
    processes: int | None = Field(None, ge=1, description="jobs side by side; none: the number of cores")
    args: dict[str, Any] = Field({}, description="arguments of stage functions, by name or by function and name")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the hook's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: given values, environment, file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, settings_file())

    def reveal(self) -> dict[str, Any]:
        """All values as JSON values, secrets too: only for the standard input of a process of ours."""
        values = self.model_dump(mode="json", exclude={"address", "password"})
        for name in ("address", "password"):
            secret: SecretStr | None = getattr(self, name)
            values[name] = None if secret is None else secret.get_secret_value()
        return values | {"home": str(self.home.resolve())}


def load_settings(given: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; values of ``given`` (the command line's) that are None do not count.

    Raises:
        SettingsError: A value has the wrong type, a name is unknown, or the file cannot be read;
            names the source, the setting, the value and what was expected.
    """
    given = {name: value for name, value in (given or {}).items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise _explain(error.errors()[0], given) from None
    except SourceError as error:
        raise SettingsError(f"environment: {error}", "Lists and tables are written as JSON.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{settings_file()} is not valid TOML: {error}", "Correct the file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{settings_file()} cannot be read: {error}", "Correct the file or its rights.") from None


def _explain(error: ErrorDetails, given: Mapping[str, Any]) -> SettingsError:
    name = str(error["loc"][0])
    if name in given:
        where = f"setting {name}"
    elif PREFIX + name.upper() in {variable.upper() for variable in os.environ}:
        where = f"environment variable {PREFIX}{name.upper()}"
    else:
        where = f"{settings_file()}, setting {name}"
    if error["type"] == "extra_forbidden":
        return SettingsError(f"{where}: there is no such setting", f"{nearest(name, list(Settings.model_fields))}")
    secret = name in ("address", "password")
    value = "" if secret else f" (given: {error['input']!r})"
    field = Settings.model_fields.get(name)
    about = f"{name} is the {field.description}." if field else None
    return SettingsError(f"{where}: {error['msg']}{value}", about)

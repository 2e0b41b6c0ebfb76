"""Settings: the command line, then ``NEMESYST_*`` variables, then ``nemesyst.toml``, then defaults."""

from __future__ import annotations

import os
from difflib import get_close_matches
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


def _check_names() -> None:
    """Refuse a named settings file that is not there, and a variable that is nearly the name of a setting."""
    if os.environ.get(PREFIX + "CONFIG") and not settings_file().is_file():
        raise SettingsError(f"{PREFIX}CONFIG names {settings_file()}, which does not exist", "Check the path.")
    known = [PREFIX + name.upper() for name in [*Settings.model_fields, "config"]]
    for variable in os.environ:
        name = variable.upper().split("__")[0]
        if name.startswith(PREFIX) and name not in known and get_close_matches(name, known, cutoff=0.85):
            raise SettingsError(f"environment variable {variable}: there is no such setting", nearest(name, known))


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
    timeout: float = Field(3.0, gt=0, le=3600, description="seconds to look for the database before giving up")
    home: Path = Field(Path(".nemesyst"), description="folder of the embedded server and of the cache")
    cache: Path | None = Field(None, description="folder of what may be deleted at any time; none: cache in home")
    cache_size: float = Field(
        20.0, ge=0, description="disk for decoded rows, in GB (verified models: a quarter of it, beside)"
    )
    mongod: Path | None = Field(None, description="mongod to run as the embedded server; none: the extra's, or PATH's")
    cache_gb: float = Field(0.5, ge=0.25, description="memory that the embedded server caches data in, in GB")
    data: Path | None = Field(None, description="folder of data files for demos, tests and benchmarks")
    executor: str = Field("local", min_length=1, description="where jobs run: local (processes) or ray (a cluster)")
    ray_address: str | None = Field(
        None, description="address of a running Ray cluster; none: RAY_ADDRESS, else one is started"
    )
    processes: int | None = Field(None, ge=1, description="how many jobs run side by side; none: the number of cores")
    job_timeout: float | None = Field(None, gt=0, description="seconds that a job may take; none: as long as it likes")
    retries: int = Field(0, ge=0, le=1000, description="how often a job is begun again after what passes by itself")
    args: dict[str, Any] = Field({}, description="arguments of stage functions, by name or by function and name")
    jobs: list[dict[str, Any]] = Field([], description="jobs that are run when no script is named, a table each")

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
        values = self.model_dump(mode="json", exclude={"address", "password", "jobs"})
        for name in ("address", "password"):
            secret: SecretStr | None = getattr(self, name)
            values[name] = None if secret is None else secret.get_secret_value()
        for name in ("cache", "mongod", "data"):  # the process may work in another folder
            path: Path | None = getattr(self, name)
            values[name] = None if path is None else str(path.expanduser().absolute())
        return values | {"home": str(self.home.expanduser().resolve())}


def load_settings(given: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; values of ``given`` (the command line's) that are None do not count.

    Raises:
        SettingsError: A value has the wrong type, a name is unknown, or the file cannot be read;
            names the source, the setting, the value and what was expected.
    """
    given = {name: value for name, value in (given or {}).items() if value is not None}
    _check_names()
    try:
        return _with_user(Settings(**given))
    except ValidationError as error:
        raise _explain(error.errors()[0], given) from None
    except SourceError as error:
        name = next((name for name in Settings.model_fields if f'"{name}"' in str(error)), "")
        variable = PREFIX + name.upper()
        raise SettingsError(
            f"environment variable {variable}: {os.environ.get(variable)!r} is not JSON",
            'Lists and tables are written as JSON, such as {"epochs": 4}.',
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def _unreadable(error: Exception) -> Exception:
    import tomllib  # here: whoever imports the library reads no file yet

    if isinstance(error, tomllib.TOMLDecodeError):
        return SettingsError(f"{settings_file()} is not valid TOML: {error}", "Correct the file.")
    if isinstance(error, OSError | UnicodeDecodeError):
        return SettingsError(f"{settings_file()} cannot be read: {error}", "Correct the file or its rights.")
    return error


def _with_user(settings: Settings) -> Settings:
    """Refuse a password that nothing would use."""
    address = "" if settings.address is None else settings.address.get_secret_value()
    if settings.password is not None and settings.username is None and "@" not in address:
        raise SettingsError("password is set and username is not", "Set both, or neither.")
    return settings


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
    about = f"{name}: {field.description}." if field else None
    return SettingsError(f"{where}: {error['msg']}{value}", about)

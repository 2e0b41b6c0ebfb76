"""Settings: where they come from, and what is said of bad ones."""

import pytest

from nemesyst.errors import SettingsError
from nemesyst.settings import load_settings

pytestmark = pytest.mark.core


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults():
    settings = load_settings()
    assert (settings.database, settings.state, settings.address) == ("data", "nemesyst", None)


def test_the_command_line_goes_before_the_environment_before_the_file(folder, monkeypatch):
    (folder / "nemesyst.toml").write_text('database = "file"\nstate = "file"\ntimeout = 9\n')
    monkeypatch.setenv("NEMESYST_DATABASE", "variable")
    monkeypatch.setenv("NEMESYST_STATE", "variable")
    settings = load_settings({"database": "line"})
    assert (settings.database, settings.state, settings.timeout) == ("line", "variable", 9)


def test_arguments_of_functions_come_from_a_table_of_the_file(folder):
    (folder / "nemesyst.toml").write_text("[args]\nhidden = 32\n[args.learn]\nepochs = 3\n")
    assert load_settings().args == {"hidden": 32, "learn": {"epochs": 3}}


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("timeout = 'soon'", r"nemesyst.toml, setting timeout.*'soon'"),
        ("databse = 'x'", "no such setting(.|\n)*did you mean database"),
        ("database = ", "nemesyst.toml is not valid TOML"),
        ("processes = 0", "greater than or equal to 1"),
    ],
)
def test_a_bad_file_is_told_with_file_field_and_value(folder, toml, said):
    (folder / "nemesyst.toml").write_text(toml)
    with pytest.raises(SettingsError, match=said):
        load_settings()


def test_a_bad_variable_is_told_with_its_name(monkeypatch):
    monkeypatch.setenv("NEMESYST_CACHE_GB", "much")
    with pytest.raises(SettingsError, match=r"environment variable NEMESYST_CACHE_GB.*'much'"):
        load_settings()


def test_a_bad_table_in_a_variable_is_told(monkeypatch):
    monkeypatch.setenv("NEMESYST_OPTIONS", "{tls")
    with pytest.raises(SettingsError, match="NEMESYST_OPTIONS"):
        load_settings()


def test_secrets_do_not_show(monkeypatch):
    monkeypatch.setenv("NEMESYST_ADDRESS", "mongodb://ann:s3cret@db")
    monkeypatch.setenv("NEMESYST_PASSWORD", "s3cret")
    assert "s3cret" not in repr(load_settings())


def test_a_password_that_nothing_would_use_is_told(monkeypatch):
    monkeypatch.setenv("NEMESYST_PASSWORD", "s3cret")
    with pytest.raises(SettingsError, match="password is set and username is not"):
        load_settings()


def test_secrets_are_there_for_our_own_processes(monkeypatch):
    monkeypatch.setenv("NEMESYST_USERNAME", "ann")
    monkeypatch.setenv("NEMESYST_PASSWORD", "s3cret")
    assert load_settings().reveal()["password"] == "s3cret"


def test_folders_are_revealed_as_they_are_from_here(folder):
    given = {"home": "h", "cache": "c", "data": "d", "mongod": "bin/mongod"}
    revealed = load_settings(given).reveal()
    assert {name: revealed[name] for name in given} == {name: str(folder / path) for name, path in given.items()}
    assert load_settings().reveal()["cache"] is None

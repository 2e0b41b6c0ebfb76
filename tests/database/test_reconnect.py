"""How another process connects again: what its pickle holds, and where the secrets come from."""

import os
import pickle
from multiprocessing import context

import pytest

from nemesyst.database.reconnect import Reconnect
from nemesyst.errors import SettingsError

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def access(server):
    """Address, user and password of this worker's server."""
    embedded = server._embedded
    return embedded.uri, {"username": embedded.username, "password": embedded.password}


def again(reconnect):
    return pickle.loads(pickle.dumps(reconnect))  # noqa: S301 - our own


@pytest.mark.core
@pytest.mark.parametrize(
    ("address", "options"),
    [
        (f"mongodb://ann:{SECRET}@db/fleet", {}),
        ("mongodb://db", {"username": "ann", "password": SECRET}),
        (f"mongodb://db/?tls=true&tlsCertificateKeyFilePassword={SECRET}", {}),
        ("mongodb://db", {"authMechanismProperties": {"AWS_SESSION_TOKEN": SECRET}}),
        ("mongodb://db", {"anOptionOfTomorrow": SECRET}),
        (f"mongodb://ann:{SECRET}/@db", {}),
    ],
)
def test_a_pickle_holds_no_secret(address, options):
    reconnect = Reconnect(address, timeout=1, options=options)
    assert SECRET.encode() not in pickle.dumps(reconnect)
    assert SECRET not in repr(reconnect)


class Child:
    """A process that is being spawned, as multiprocessing shows it to what is pickled for it."""

    def duplicate_for_child(self, descriptor):
        return os.dup(descriptor)

    def DupFd(self, descriptor):  # noqa: N802 - multiprocessing's name
        return Descriptor(descriptor)


class Descriptor:
    def __init__(self, number):
        self.number = number

    def detach(self):
        return self.number


@pytest.mark.core
def test_a_child_gets_the_secret_through_a_pipe_and_not_in_its_pickle():
    reconnect = Reconnect("mongodb://db", timeout=1, options={"username": "ann", "password": SECRET})
    context.set_spawning_popen(Child())
    try:
        pickled = pickle.dumps(reconnect)
    finally:
        context.set_spawning_popen(None)
    assert SECRET.encode() not in pickled
    there = pickle.loads(pickled)  # noqa: S301 - our own
    assert there._whole == reconnect._whole


def test_in_the_same_process_it_knows_everything(access):
    address, options = access
    with Reconnect(address, timeout=30, options=options).connect().client as client:
        assert client.admin.command("ping")["ok"] == 1


def test_an_address_without_secrets_comes_along(access):
    reconnect = again(Reconnect(access[0], timeout=30, options={"readPreference": "nearest"}))
    assert reconnect._whole == (access[0], {"readPreference": "nearest"})


def test_the_credentials_come_from_the_settings_there(access, monkeypatch):
    address, options = access
    reconnect = again(Reconnect(address, timeout=30, options={**options, "appname": "mine"}))
    monkeypatch.setenv("NEMESYST_USERNAME", options["username"])
    monkeypatch.setenv("NEMESYST_PASSWORD", options["password"])
    connection = reconnect.connect()
    assert connection.client.options.pool_options.appname == "mine"
    connection.close()


def test_an_address_with_credentials_is_found_in_the_settings(access, monkeypatch):
    address, options = access
    whole = address.replace("//", f"//{options['username']}:{options['password']}@")
    reconnect = again(Reconnect(whole, timeout=30))
    monkeypatch.setenv("NEMESYST_ADDRESS", whole)
    reconnect.connect().close()


@pytest.mark.core
def test_without_settings_there_it_says_which():
    with pytest.raises(SettingsError, match=r"connecting to mongodb://db/fleet.*\n.*NEMESYST_PASSWORD"):
        again(Reconnect("mongodb://db/fleet", timeout=1, options={"username": "ann", "password": SECRET})).connect()


def test_an_embedded_server_is_found_by_its_folder(home):
    reconnect = Reconnect(None, timeout=3, home=home)
    connection = again(reconnect).connect()
    assert connection.server.transactions
    connection.close()
    assert connection.closed

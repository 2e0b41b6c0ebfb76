"""Users, roles, TLS and certificates: who gets in, and what is said to who does not."""

from __future__ import annotations

from urllib.parse import quote_plus

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import AccessError, SettingsError, UnreachableError
from nemesyst.stages import stage_of, work

from .servers import Certificates, Node, ReplicaSet, add_user, key_file, running

pytestmark = pytest.mark.slow


SECRET = "s3/cr@t:w%rd ?#"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A replica set of one node with users: all rights, reading alone, and one that the database data knows."""
    folder = tmp_path_factory.mktemp("guarded")
    node = Node(folder / "db", "--auth", "--replSet", "rs", "--keyFile", key_file(folder))
    with running(node):
        address = ReplicaSet(node).address
        with node.client() as client:
            add_user(client, "ann", SECRET, ("root", "admin"))
        with node.client(username="ann", password=SECRET) as client:
            add_user(client, "reader", "r", ("read", "data"), ("read", "nemesyst"))
            add_user(client, "bob", "b", ("readWrite", "data"), source="data")
        yield address


@pytest.fixture(scope="module")
def filled(guarded):
    """The same with rows and a model in it."""
    with nm.connect(guarded, username="ann", password=SECRET) as hub:
        hub.put("rows", ({"i": i, "x": float(i), "y": 2.0 * i} for i in range(100)), key="i")
        hub.models.save({"w": np.arange(3.0)}, "air")
        hub.models.save({"w": np.random.default_rng(0).standard_normal(100_000)}, "large")
    return guarded


@pytest.fixture
def reader(filled):
    """A hub whose user can read alone."""
    with nm.connect(filled, username="reader", password="r") as hub:
        yield hub


def with_user(address, user):
    return address.replace("mongodb://", f"mongodb://{user}@")


def contents(address):
    """Every document of both databases."""
    with nm.connect(address, username="ann", password=SECRET) as hub:
        return {
            (database.name, name): list(database[name].find())
            for database in (hub.db, hub.state)
            for name in database.list_collection_names()
        }


def test_user_and_password_in_the_address(guarded):
    with nm.connect(with_user(guarded, f"ann:{quote_plus(SECRET)}")) as hub:
        assert hub.put("mine", [{"n": 1}]).stored == 1
        assert quote_plus(SECRET) not in repr(hub)


def test_user_and_password_given_apart(guarded):
    with nm.connect(guarded, username="ann", password=SECRET) as hub:
        assert hub.put("mine", [{"n": 1}]).stored == 1
        assert SECRET not in repr(hub) + repr(hub.settings)


def test_the_password_from_the_environment(guarded, monkeypatch):
    monkeypatch.setenv("NEMESYST_PASSWORD", SECRET)
    with nm.connect(with_user(guarded, "ann")) as hub:
        assert hub.put("mine", [{"n": 1}]).stored == 1


def test_what_is_given_comes_before_the_environment(guarded, monkeypatch):
    monkeypatch.setenv("NEMESYST_USERNAME", "nobody")
    monkeypatch.setenv("NEMESYST_PASSWORD", "nothing")
    with nm.connect(guarded, username="ann", password=SECRET) as hub:
        assert hub.put("mine", [{"n": 1}]).stored == 1


def test_a_user_that_another_database_knows(guarded):
    with pytest.raises(AccessError, match="does not accept the credentials") as error:
        nm.connect(guarded, username="bob", password="b")
    assert "authSource" in error.value.remedy
    with nm.connect(guarded, username="bob", password="b", authSource="data") as hub:
        assert hub.put("mine", [{"n": 1}]).stored == 1


def test_wrong_credentials(guarded):
    with pytest.raises(AccessError, match=r"connecting to mongodb://\*\*\*@127.*not accept the credentials") as error:
        nm.connect(with_user(guarded, "ann:wr0ng"))
    assert "wr0ng" not in str(error.value)


def test_no_credentials_where_they_are_needed(guarded):
    with nm.connect(guarded) as hub, pytest.raises(AccessError, match="put into mine: .* asks for a user") as error:
        hub.put("mine", [{"n": 1}])
    assert "NEMESYST_PASSWORD" in error.value.remedy


def test_reading_data_and_models_needs_no_more_than_a_read_role(reader):
    feed = reader.feed("rows", inputs="x", targets="y", split=nm.Split(test=0.2))
    assert sum(len(batch["x"]) for part in (feed.train, feed.test) for batch in part) == 100
    assert reader.models.load("air")["w"].tolist() == [0, 1, 2]
    assert reader.models.load("large")["w"].shape == (100_000,)
    assert reader.models.names() == ["air", "large"]


def test_a_reader_can_write_nothing_and_leaves_nothing(reader, filled):
    before = contents(filled)
    tries = [
        lambda: reader.put("rows", [{"i": 1000}], key="i"),
        lambda: reader.put("new", [{"i": 1000}], key="i"),
        lambda: reader.put("new", [{"n": object()}]),
        lambda: reader.models.save({"w": np.zeros(3)}, "air"),
        lambda: reader.models.save({"w": np.zeros(100_000)}, "new"),
        lambda: reader.models.promote("air@1", "champion"),
    ]
    for attempt in tries:
        with pytest.raises(AccessError, match="lacks a right") as error:
            attempt()
        assert "role" in error.value.remedy
    assert contents(filled) == before


def test_learning_as_a_reader_ends_before_it_trains(reader):
    trained = []

    @nm.learner(nm.Feed("rows", inputs="x"), model="air")
    def learn(run):
        trained.append(run)

    with pytest.raises(AccessError, match="lacks a right"):
        work(reader, stage_of(learn), {})
    assert trained == []


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("tls") / "known")


@pytest.fixture(scope="module")
def encrypted(certificates, tmp_path_factory):
    """A server that speaks TLS alone, whose user ann is known by a certificate."""
    server = certificates.signed("server", "/O=servers/CN=db", "IP:127.0.0.1")
    ann = certificates.signed("ann", "/O=people/CN=ann")
    tls = ["--tlsMode", "requireTLS", "--tlsCertificateKeyFile", server, "--tlsCAFile", certificates.authority]
    access = {"tls": True, "tlsCAFile": str(certificates.authority)}
    node = Node(
        tmp_path_factory.mktemp("encrypted") / "db",
        "--auth",
        *tls,
        "--tlsAllowConnectionsWithoutCertificates",
        access=access,
    )
    with running(node):
        with node.client() as client:
            add_user(client, "root", "r", ("root", "admin"))
        with node.client(username="root", password="r") as client:
            add_user(client, "CN=ann,O=people", None, ("readWrite", "data"), source="$external")
        yield {"address": f"mongodb://{node.host}/", "ann": str(ann), **access}


def test_tls_with_the_authority_in_the_address(encrypted):
    address = f"{encrypted['address']}?tls=true&tlsCAFile={encrypted['tlsCAFile']}"
    with nm.connect(address, username="root", password="r") as hub:
        assert hub.put("rows", [{"n": 1}]).stored == 1


def test_a_user_known_by_a_certificate(encrypted):
    ann = {"tlsCertificateKeyFile": encrypted["ann"], "authMechanism": "MONGODB-X509"}
    with nm.connect(encrypted["address"], tls=True, tlsCAFile=encrypted["tlsCAFile"], **ann) as hub:
        assert hub.put("rows", [{"n": 1}]).stored == 1
        (user,) = hub.db.command("connectionStatus")["authInfo"]["authenticatedUsers"]
        assert user == {"user": "CN=ann,O=people", "db": "$external"}


def test_no_certificate_where_the_user_is_known_by_one(encrypted):
    with pytest.raises(AccessError, match="does not accept the credentials: No verified subject"):
        nm.connect(encrypted["address"], tls=True, tlsCAFile=encrypted["tlsCAFile"], authMechanism="MONGODB-X509")


def test_a_reader_is_told_why_a_pipeline_needs_the_right_to_write(reader):
    with pytest.raises(AccessError) as error:
        reader.feed("rows", pipeline=[{"$sort": {"x": 1}}, {"$limit": 5}], inputs="x")
    told = str(error.value)
    assert "its pipeline must run as a whole: it looks across documents" in told
    assert "kept in the state database nemesyst, and the user has no right to write there" in told
    assert "not authorized on nemesyst to execute command findAndModify on plans.kept" in told
    assert "Ask for the role readWrite on nemesyst" in error.value.remedy
    assert not [word for word in ("lsid", "clusterTime", "UUID", "signature", "{") if word in told]


def test_what_a_user_may_not_do_is_told_without_the_command(guarded):
    with nm.connect(guarded, username="bob", password="b", database="data", authSource="data") as hub:
        with pytest.raises(AccessError) as error:
            hub.models.save({"w": np.arange(3.0)}, "mine")
        assert "not authorized on nemesyst to execute command" in str(error.value)
        assert not [word for word in ("lsid", "clusterTime", "UUID", "signature") if word in str(error.value)]


@pytest.fixture
def _soon(monkeypatch):
    monkeypatch.setenv("NEMESYST_TIMEOUT", "1")


@pytest.mark.usefixtures("_soon")
def test_an_authority_that_did_not_sign_the_servers_certificate(encrypted, tmp_path):
    other = Certificates(tmp_path / "other").authority
    with pytest.raises(UnreachableError, match="certificate verify failed") as error:
        nm.connect(encrypted["address"], tls=True, tlsCAFile=str(other))
    assert "tlsCAFile" in error.value.remedy


@pytest.mark.usefixtures("_soon")
def test_a_name_that_is_not_in_the_servers_certificate(encrypted):
    with pytest.raises(UnreachableError, match="certificate is not valid for 'localhost'") as error:
        nm.connect(encrypted["address"].replace("127.0.0.1", "localhost"), tls=True, tlsCAFile=encrypted["tlsCAFile"])
    assert "host name" in error.value.remedy


@pytest.mark.usefixtures("_soon")
def test_no_tls_where_the_server_asks_for_it(encrypted):
    with pytest.raises(UnreachableError, match="connection closed") as error:
        nm.connect(encrypted["address"])
    assert "tls=True" in error.value.remedy


@pytest.mark.usefixtures("_soon")
def test_tls_where_the_server_has_none(guarded):
    with pytest.raises(UnreachableError, match="SSL") as error:
        nm.connect(guarded, tls=True)
    assert "tls" in error.value.remedy


def test_a_file_that_holds_no_authority(encrypted, tmp_path):
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(SettingsError, match=f"connecting to {encrypted['address']}: "):
        nm.connect(encrypted["address"], tls=True, tlsCAFile=str(tmp_path / "ca"))

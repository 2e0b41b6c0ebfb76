"""Addresses and options of any MongoDB, and what is said about those that lead nowhere."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import dns.message
import dns.resolver
import dns.rrset
import numpy as np
import pytest

import nemesyst as nm
from nemesyst.database.address import shown
from nemesyst.errors import DatabaseError, SettingsError, UnreachableError, UnsupportedServerError

from .servers import Node, running

AT_MOST = 20  # s, for what is promised within 5 s: the machine may be busy


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A standalone server without users."""
    node = Node(tmp_path_factory.mktemp("alone") / "db")
    with running(node):
        yield node


@pytest.fixture
def address(alone):
    return f"mongodb://{alone.host}/"


@pytest.fixture
def deaf():
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def name_server(monkeypatch):
    """A DNS server that answers SRV questions with what is in ``known``, and is silent about ``silent.test``."""
    known = {}
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))

    def serve():
        while True:
            data, asker = listener.recvfrom(4096)
            if not data:
                return
            question = dns.message.from_wire(data)
            name = str(question.question[0].name)
            if "silent" in name:
                continue
            reply = dns.message.make_response(question)
            if name in known and question.question[0].rdtype == dns.rdatatype.SRV:
                reply.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", known[name]))
            elif name not in known:
                reply.set_rcode(dns.rcode.NXDOMAIN)
            listener.sendto(reply.to_wire(), asker)

    serving = threading.Thread(target=serve)
    serving.start()
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], listener.getsockname()[1]
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield known
    listener.sendto(b"", listener.getsockname())
    serving.join()
    listener.close()


def test_the_database_of_the_address_holds_the_collections(address, names):
    with nm.connect(address + names["database"]) as hub:
        hub.put("rows", [{"n": 1}])
        assert hub.db.client[names["database"]].rows.count_documents({}) == 1


def test_a_database_that_is_given_comes_before_the_addresss(address):
    with nm.connect(address + "fleet", database="other") as hub:
        assert (hub.db.name, hub.state.name) == ("other", "nemesyst")


def test_admin_in_the_address_knows_the_user_and_holds_no_data(address):
    with nm.connect(address + "admin") as hub:
        assert hub.db.name == "data"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"database": "nemesyst"}, "database and state are both 'nemesyst'"),
        ({"database": "one", "state": "ONE"}, "database and state are both 'one'"),
        ({"database": "a.b"}, "database: 'a.b' holds a character"),
        ({"state": "a b"}, "state: 'a b' holds a character"),
        ({"database": "local"}, "database: 'local' is the server's own"),
    ],
)
def test_databases_that_cannot_be(address, names, said):
    with pytest.raises(SettingsError, match=said):
        nm.connect(address, **names)


def test_a_name_that_dns_resolves_to_servers(alone, name_server):
    name_server["_mongodb._tcp.db.fleet.test."] = f"0 0 {alone.port} localhost."
    options = {"tls": False, "srv_host_validator": lambda _host: True}
    with nm.connect("mongodb+srv://db.fleet.test/fleet", **options) as hub:
        assert hub.put("rows", [{"n": 1}]).stored == 1


@pytest.mark.slow
@pytest.mark.timeout(AT_MOST)
@pytest.mark.parametrize(
    "place", ["mongodb://ann:s3cret@127.0.0.1:1", "mongodb://ann:s3cret@nowhere.invalid", "mongodb+srv://ann:s3cret@silent.test"]
)  # fmt: skip
def test_a_place_where_no_server_is(place, name_server):
    with pytest.raises(UnreachableError, match=r"connecting to mongodb(\+srv)?://\*\*\*@") as error:
        nm.connect(place)
    assert place.rpartition("@")[2] in error.value.message
    assert "s3cret" not in str(error.value)
    assert error.value.remedy.startswith("Check")


@pytest.mark.slow
@pytest.mark.timeout(AT_MOST)
def test_a_server_that_never_answers(deaf):
    with pytest.raises(UnreachableError, match=rf"connecting to mongodb://127\.0\.0\.1:{deaf}/: .*(timed out|in time)"):
        nm.connect(f"mongodb://127.0.0.1:{deaf}/")


def test_a_name_that_dns_does_not_know(name_server):
    with pytest.raises(
        UnreachableError, match=r"\*\*\*@db\.gone\.test/: its name cannot be looked up: .*not exist"
    ) as error:
        nm.connect("mongodb+srv://ann:s3cret@db.gone.test/")
    assert "DNS" in error.value.remedy


def test_a_replica_set_of_another_name(alone, monkeypatch):
    monkeypatch.setenv("NEMESYST_TIMEOUT", "1")
    with pytest.raises(UnreachableError, match='replica set name "other"') as error:
        nm.connect(f"mongodb://{alone.host}/?replicaSet=other")
    assert "replicaSet" in error.value.remedy


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("http://h", "Invalid URI scheme"),
        ("mongodb://", "at least one host"),
        ("mongodb://h:port", "Port contains non-digit characters"),
        ("mongodb://h:99999", "Port must be an integer"),
        ("mongodb://h/?tls", "options are key=value pairs"),
        ("mongodb://h/?retries=3", "Unknown option: retries. Did you mean"),
        ("mongodb://h/?maxPoolSize=many", "maxpoolsize must be an integer"),
        ("mongodb://h/?tlsCAFile=/nowhere/ca", "No such file or directory: '/nowhere/ca'"),
        ("mongodb+srv://h.test:3", "must not include a port"),
    ],
)
def test_an_address_that_is_none(place, said):
    with pytest.raises(SettingsError, match=said) as error:
        nm.connect(place)
    assert error.value.message.startswith(f"connecting to {shown(place)}: ")


@pytest.mark.parametrize("password", ["s3cr/t@word", "s3cret@word", "12?a=s3cret", "s3c%ret", "1/s3cret", "#s3cret:"])
def test_a_password_that_is_not_escaped_is_told_and_not_shown(password):
    with pytest.raises(SettingsError, match="escaped") as error:
        nm.connect(f"mongodb://ann:{password}@h/")
    assert "s3c" not in str(error.value)
    assert "word" not in str(error.value).replace("password", "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retries": 3}, "Unknown option: retries"),
        ({"maxPoolSize": "many"}, "maxPoolSize must be an integer"),
        ({"tlsCAFile": "/nowhere/ca"}, "No such file or directory: '/nowhere/ca'"),
        ({"readPreference": "third"}, "third is not a valid read preference"),
        ({"host": "h"}, "multiple values for .*'host'"),
    ],
)
def test_an_option_that_does_not_fit(address, options, said):
    with pytest.raises(SettingsError, match=rf"connecting to {address}: .*{said}"):
        nm.connect(address, **options)


@pytest.mark.parametrize(
    ("query", "options", "name"),
    [("w=1", {}, "w"), ("journal=false", {}, "journal"), ("", {"w": 0}, "w"), ("", {"W": 2}, "w"), ("", {"j": False}, "journal")],
)  # fmt: skip
def test_nothing_weakens_the_acknowledgement_of_writes(address, query, options, name):
    with pytest.raises(SettingsError, match=rf"option {name} is .* acknowledged by a majority") as error:
        nm.connect(f"{address}?{query}", **options)
    assert error.value.remedy == f"Leave {name} out of the address and the options."


@pytest.mark.parametrize("query", ["", "w=majority&journal=true"])
def test_writes_wait_for_a_majority(address, query):
    with nm.connect(f"{address}?{query}") as hub:
        assert hub.db.write_concern.document == {"w": "majority", "j": True}
        assert hub.state.write_concern == hub.db.write_concern


def test_options_of_the_address_come_before_our_defaults(address):
    with nm.connect(f"{address}?appName=fleet&serverSelectionTimeoutMS=1234") as hub:
        assert hub.db.client.options.server_selection_timeout == 1.234
        assert hub.db.client.options.pool_options.appname == "fleet"


def test_a_standalone_server_takes_rows_and_feeds_them(address, names):
    with nm.connect(address, **names) as hub:
        assert hub.put("rows", ({"x": i, "y": i} for i in range(100)), key="x").stored == 100
        assert sum(len(batch["x"]) for batch in hub.feed("rows", inputs="x", targets="y")) == 100


def test_a_standalone_server_cannot_keep_models_and_says_so_at_once(address, names):
    with nm.connect(address, **names) as hub:
        with pytest.raises(UnsupportedServerError, match="save model air: the server is a standalone one") as error:
            hub.models.save({"w": np.zeros(3)}, "air")
        assert "rs.initiate()" in error.value.remedy
        assert hub.state.list_collection_names() == []


def test_learning_on_a_standalone_server_ends_before_it_trains(address, names, tmp_path):
    with nm.connect(address, **names) as hub:
        hub.put("rows", [{"x": 1.0}])
    (tmp_path / "s.py").write_text(
        "import nemesyst as nm\n@nm.learner(nm.Feed('rows', inputs='x'), model='air')\n"
        "def learn(run): open('trained', 'w')\n"
    )
    words = ["learn", "s.py", "--address", address, "--database", names["database"], "--state", names["state"]]
    command = [sys.executable, "-c", "from nemesyst.cli import main; main()", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "standalone" in done.stderr + done.stdout
    assert "--replSet" in done.stderr + done.stdout
    assert not (tmp_path / "trained").exists()


def test_a_hub_is_closed_at_the_end_of_its_block_and_says_so_when_used(address, names):
    with nm.connect(address, **names) as hub:
        hub.put("rows", [{"x": 1.0}])
        feed = hub.feed("rows", inputs="x")
    uses = [
        lambda: hub.put("rows", [{}]),
        lambda: hub.feed("rows"),
        lambda: list(feed),
        hub.models.list,
        lambda: hub.db,
    ]
    for use in uses:
        with pytest.raises(DatabaseError, match="the hub is closed") as error:
            use()
        assert "nm.connect" in error.value.remedy
    hub.close()


@pytest.mark.filterwarnings("ignore:MongoClient opened before fork")
@pytest.mark.timeout(60)
def test_a_forked_child_can_use_the_hub_and_its_parent_goes_on(server, hub):
    hub.put("rows", ({"x": i} for i in range(100)))
    child = os.fork()
    if not child:
        try:
            read = sum(len(batch["x"]) for batch in hub.feed("rows", inputs="x"))
            hub.models.save({"w": np.zeros(read)}, "air")
            hub.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert hub.models.load("air@1")["w"].shape == (100,)
    assert hub.put("rows", [{"x": 100}]).stored == 1

"""Which index serves a pipeline, along which field it is cut, and how that is told."""

from datetime import datetime

import pytest

from nemesyst.database import Connection, indexes
from nemesyst.errors import PipelineError
from nemesyst.feed.judging import advise, explain, key_field

pytestmark = [pytest.mark.core, pytest.mark.slow]


@pytest.fixture
def rows(hub):
    """300 documents of 3 sites; texts, tags and gaps for indexes of every kind."""
    found = hub.db["rows"]
    found.insert_many(
        [
            {"site": i % 3, "t": i, "tags": [1, 2], "name": f"n{i}", "city": f"c{i}", "h": i, "some": i}
            for i in range(300)
        ]
    )
    found.create_index([("site", 1), ("t", 1)])
    found.create_index([("tags", 1), ("t", 1)])
    found.create_index([("h", "hashed")])
    found.create_index("name", collation={"locale": "en"})
    found.create_index("some", partialFilterExpression={"some": {"$gt": 100}})
    found.create_index("gap", sparse=True)
    return hub


def access(hub, match, collection="rows"):
    return indexes.access_of(hub._connection, hub.db.name, collection, match)


@pytest.mark.parametrize(
    ("match", "kind", "key"),
    [
        (None, "scan", None),
        ({"city": "c3"}, "scan", None),
        ({"site": 2}, "index", "t"),
        ({"site": {"$eq": 2}}, "index", "t"),
        ({"site": {"$in": [2]}}, "index", "t"),
        ({"site": {"$in": [1, 2]}}, "index", "site"),
        ({"$and": [{"site": 2}, {"t": {"$gte": 5}}]}, "index", "t"),
        ({"site": {"$gte": 1}}, "index", "site"),
        ({"site": None}, "index", "site"),
        ({"site": 2, "t": 8}, "index", None),
        ({"tags": 2}, "index", None),
        ({"h": 8}, "index", None),
        ({"some": {"$gt": 200}}, "index", None),
        ({"gap": {"$gt": 2}}, "index", None),
        ({"name": "n3"}, "scan", None),
        ({"_id": 3}, "id", "_id"),
        ({"_id": {"$gt": 3}}, "index", "_id"),
        ({"$or": [{"site": 1}, {"tags": 2}]}, "other", None),
    ],
    ids=str,
)
def test_the_field_along_which_an_index_can_be_cut(rows, match, kind, key):
    found = access(rows, match)
    assert found.kind == kind
    assert key_field(found, match) == key


def test_a_clustered_collection_is_cut_along_its_own_key(hub):
    hub.put("keyed", [{"unit": 1, "t": t} for t in range(10)], key=("unit", "t"))
    match = {"_id": {"$gte": {"unit": 1, "t": 3}}}
    found = access(hub, match, "keyed")
    assert (found.kind, found.index.clustered, key_field(found, match)) == ("clustered", True, "_id")


def test_a_view_and_a_missing_collection_have_no_indexes(rows):
    rows.db.command("create", "view", viewOn="rows", pipeline=[{"$match": {"site": 1}}])
    assert indexes.indexes_of(rows._connection, rows.db.name, "view") == ()
    assert key_field(access(rows, {"t": 4}, "view"), {"t": 4}) is None
    assert indexes.indexes_of(rows._connection, rows.db.name, "nowhere") == ()
    assert key_field(access(rows, {"t": 4}, "nowhere"), {"t": 4}) is None


def test_a_time_series_collection_can_be_asked(hub):
    hub.db.create_collection("series", timeseries={"timeField": "t", "metaField": "unit"})
    hub.db["series"].insert_one({"t": datetime(2024, 1, 1), "unit": 3, "v": 1.0})
    assert access(hub, {"unit": 3}, "series").kind in {"scan", "clustered", "index"}


def test_a_query_that_the_server_refuses_is_told_in_its_words(rows):
    with pytest.raises(PipelineError, match=r"unknown operator: \$foo"):
        access(rows, {"a": {"$foo": 1}})


def test_a_read_role_is_enough(rows):
    user = {"createUser": "reader", "pwd": "secret", "roles": [{"role": "read", "db": rows.db.name}]}
    rows.db.command(user)
    try:
        host, port = rows.db.client.primary
        options = {"username": "reader", "password": "secret", "authSource": rows.db.name}
        reader = Connection(f"mongodb://{host}:{port}", timeout=10, options=options)
        try:
            stages = [{"$match": {"site": 1}}]
            assert explain(reader, rows.db.name, "rows", stages, order=("site", "t")).advice.key == "t"
        finally:
            reader.close()
    finally:
        rows.db.command("dropUser", "reader")


@pytest.mark.parametrize(
    ("match", "command"),
    [
        ({"city": "c3"}, "db.rows.createIndex({city: 1})"),
        ({"city": "c3", "a.b": {"$gt": 3}}, "db.rows.createIndex({city: 1, 'a.b': 1})"),
        ({"site": 2, "t": 8}, "db.rows.createIndex({site: 1, t: 1, _id: 1})"),
        ({"site": 2}, None),
        (None, None),
    ],
    ids=str,
)
def test_an_index_that_would_help_is_named(rows, match, command):
    assert advise(rows._connection, rows.db.name, "rows", match).command == command


@pytest.mark.parametrize(
    ("match", "order", "command"),
    [
        (None, ("site", "t"), None),
        ({"site": 2}, ("site", "t"), None),
        (None, ("unit", "t"), "db.rows.createIndex({unit: 1, t: 1})"),
        ({"city": "c3"}, ("unit", "t"), "db.rows.createIndex({city: 1, unit: 1, t: 1})"),
    ],
    ids=str,
)
def test_an_index_for_the_order_of_windows_is_named(rows, match, order, command):
    assert advise(rows._connection, rows.db.name, "rows", match, order=order).command == command


def test_a_keyed_collection_needs_no_index_for_its_windows(hub):
    hub.put("keyed", [{"unit": 1, "t": t, "air": 1.0} for t in range(10)], key=("unit", "t"))
    assert advise(hub._connection, hub.db.name, "keyed", None, order=("unit", "t")).command is None
    assert advise(hub._connection, hub.db.name, "keyed", None, order=("t", "unit")).command is not None


def test_the_explanation_names_stages_index_and_chunks(rows):
    stages = [{"$match": {"site": 2}}, {"$unwind": "$tags"}]
    assert explain(rows._connection, rows.db.name, "rows", stages).lines() == [
        "rows: pushed down: each chunk runs it on its own documents",
        "  0  $match   one document at a time",
        "  1  $unwind  one document at a time",
        "index: site_1_t_1 {site: 1, t: 1} serves the $match",
        "chunks: ranges of t, along index site_1_t_1",
        "rows are told apart by the _id of their document and their place among its rows",
    ]


def test_the_explanation_says_what_runs_once_and_what_is_lacking(rows):
    stages = [{"$match": {"city": "c3"}}, {"$group": {"_id": "$site"}}]
    assert explain(rows._connection, rows.db.name, "rows", stages).lines() == [
        "rows: run once over the whole collection, and its rows kept",
        "  0  $match  one document at a time",
        "  1  $group  not by chunks: groups the documents of the whole collection",
        "index: none serves the $match; every document is read",
        "chunks: ranges of the kept rows, in the order of the pipeline's result",
        "hint: no index serves the $match, so that every document is read; worth it where few match",
        "  db.rows.createIndex({city: 1})",
    ]

"""Records that cannot be stored: each with its reason and position, and the rest is stored."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import numpy as np
import pytest
from pydantic import BaseModel, Field

from nemesyst.database import put
from nemesyst.errors import SettingsError

DATE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(hub):
    def store(records, **options):
        return put(hub._connection, hub.db.name, "rows", records, **options)

    return store


def nested(depth):
    top = here = {}
    for _ in range(depth):
        here["a"] = {}
        here = here["a"]
    return top


CIRCLE: dict = {}
CIRCLE["self"] = CIRCLE


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (5, "it is of type int"),
        (None, "it is of type NoneType"),
        ({"a": object()}, "builtins.object cannot be stored"),
        ({"a": {1, 2}}, "builtins.set cannot be stored"),
        ({1: "a"}, "only string keys"),
        ({"a": 2**64}, "more than 64 bits"),
        ({"a\0b": 1}, "NULL byte"),
        ({"a": "\ud800"}, "surrogates"),
        ({"a": b"x" * 17_000_000}, "too large: 17,000,"),
        ({"a": np.zeros(2, [("x", "i4")])}, "array of dtype"),
        ({"a": nested(300)}, "the database refuses it"),
        ({"a": nested(190)}, "the database refuses it"),
        ({"a": CIRCLE}, "nested too deeply, or holds itself"),
        ({"_id": None}, "'_id' is null"),
        ({"_id": [1]}, "'_id' is an array"),
        ({"_id": {"$a": 1}}, "the database refuses it"),
    ],
    ids=range(16),
)
def test_a_bad_record_is_kept_with_reason_and_position_and_the_rest_is_stored(hub, store, record, reason):
    report = store([{"good": 1}, record, {"good": 2}], source="here")
    kept = hub.db["rows.rejected"].find_one()
    assert (report.stored, report.rejected) == (2, 1)
    assert sum(report.reasons.values()) == 1
    assert reason in kept["reason"]
    assert (kept["position"], kept["source"]) == (1, "here")
    assert hub.db.rows.distinct("good") == [1, 2]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"t": 1}, "no key field 'unit'"),
        ({"unit": None, "t": 1}, "'unit' is null"),
        ({"unit": [1], "t": 1}, "'unit' is an array"),
        ({"unit": np.arange(2), "t": 1}, "'unit' is an array"),
        ({"unit": float("nan"), "t": 1}, "not a number"),
        ({"unit": 1, "t": DATE.replace(microsecond=1)}, "finer than a millisecond"),
        ({"unit": 1, "t": np.datetime64("2026-01-01T00:00:00.000000001")}, "finer than a millisecond"),
        ({"unit": 1, "t": np.datetime64("NaT")}, "'t' is null"),
    ],
    ids=range(8),
)
def test_a_key_that_could_merge_two_rows_is_rejected(hub, store, record, reason):
    report = store([record, {"unit": 1, "t": 2}], key=("unit", "t"))
    assert (report.stored, report.rejected) == (1, 1)
    assert reason in hub.db["rows.rejected"].find_one()["reason"]


def test_a_date_outside_the_key_is_cut_to_milliseconds(hub, store):
    store([{"k": 1, "t": DATE.replace(microsecond=1999)}], key="k")
    assert hub.db.rows.find_one()["t"].microsecond == 1000


def test_what_can_be_shown_of_a_record_is_kept(hub, store):
    store([{"unit": 7, "air": 2.5, "bad": {1, 2}}])
    assert hub.db["rows.rejected"].find_one()["record"] == {"unit": 7, "air": 2.5, "bad": "{1, 2}"}


def test_a_record_that_is_too_large_is_shown_by_sizes(hub, store):
    store([{"unit": 7, "image": np.zeros(17_000_000, "uint8")}])
    shown = hub.db["rows.rejected"].find_one()["record"]
    assert set(shown) == {"unit", "image"}
    assert shown["image"].startswith("17000")


def test_a_record_whose_repr_fails_is_rejected_too(hub, store):
    class Bad:
        def __repr__(self):
            raise ValueError

    assert store([{"a": Bad()}, {"a": 1}]).rejected == 1
    assert "whose repr fails" in hub.db["rows.rejected"].find_one()["record"]["a"]


@pytest.mark.parametrize("on_conflict", ["keep", "replace", "error"])
def test_the_collections_own_validator_rejects_naming_the_field(hub, store, on_conflict):
    hub.db.create_collection("rows", validator={"$jsonSchema": {"required": ["air"]}})
    report = store([{"n": 1, "air": 1}, {"n": 2}, {"n": 3, "air": 1}], on_conflict=on_conflict)
    kept = hub.db["rows.rejected"].find_one()
    assert (report.stored, report.rejected) == (2, 1)
    assert (kept["reason"], kept["position"]) == ("it breaks the collection's validator: missing air", 1)
    assert kept["record"] == {"n": 2}


def test_another_unique_index_rejects_and_counts_nothing_as_unchanged(hub, store):
    hub.db.rows.create_index("serial", unique=True)
    report = store([{"serial": 1}, {"serial": 1}, {"serial": 2}])
    assert (report.stored, report.unchanged, report.rejected) == (2, 0, 1)
    assert "same serial" in next(iter(report.reasons))


def test_many_bad_records_are_all_kept_and_their_reasons_counted(hub, store):
    report = store(({"a": i} if i % 2 else {f"f{i % 100}": 1} for i in range(3000)), key="a", batch_rows=100)
    assert (report.stored, report.rejected) == (1500, 1500)
    assert report.reasons == {"there is no key field 'a'": 1500}
    assert hub.db["rows.rejected"].count_documents({}) == 1500


def test_at_most_twenty_reasons_are_told_apart(store):
    report = store([{f"{i}\0": 1, "a": 2**64 + i} for i in range(30)] + [{"a": 2**64 + i} for i in range(30)])
    assert len(report.reasons) <= 20
    assert sum(report.reasons.values()) == report.rejected == 60


def test_a_schema_rejects_what_breaks_it_and_stores_the_rest_as_it_is(hub, store):
    schema = {"unit": int, "air": float | None, "image": np.ndarray}
    image = np.zeros((2, 2))
    report = store(
        [
            {"unit": 1, "air": 2.0, "image": image, "more": "stays"},
            {"unit": np.int64(2), "air": None, "image": image},
            {"unit": 3, "image": image},
            {"unit": "4", "image": image},
            {"unit": True, "image": image},
            {"air": 1.0, "image": image},
            {"unit": 5, "air": "warm", "image": image},
            {"unit": 6, "image": [0]},
        ],
        schema=schema,
    )
    assert (report.stored, report.rejected) == (3, 5)
    reasons = [row["reason"] for row in hub.db["rows.rejected"].find().sort("position")]
    assert [reason.split(":")[0] for reason in reasons] == [
        f"field {f}" for f in ("unit", "unit", "unit", "air", "image")
    ]
    assert hub.db.rows.find_one({"unit": 1})["more"] == "stays"


def test_a_pydantic_model_is_a_schema(store):
    class Reading(BaseModel):
        air: Annotated[float, Field(ge=-60, le=60)]

    report = store([{"air": 3.0}, {"air": 300.0}, {"air": "3"}], schema=Reading)
    assert (report.stored, report.rejected) == (1, 2)


@pytest.mark.parametrize("schema", [{"a": "int"}, {"a": 5}, 7, {3: int}])
def test_a_schema_that_is_none_is_refused_before_any_work(hub, store, schema):
    with pytest.raises(SettingsError, match="schema: "):
        store([{"a": 1}], schema=schema)
    assert hub.db.list_collection_names() == []


@pytest.mark.parametrize("odd", [Decimal("1." + "3" * 60), np.datetime64(9**15, "s"), 2**80])
def test_one_odd_value_rejects_its_record_alone(hub, odd):
    report = hub.put("rows", [{"i": 0}, {"i": 1, "odd": odd}, {"i": 2}])
    assert (report.stored, report.rejected) == (2, 1)


def test_a_key_that_is_no_name_is_told(hub):
    with pytest.raises(SettingsError, match="key: 5 is not the name of a field"):
        hub.put("rows", [], key=5)


def test_a_key_of_two_fields_does_not_fit_rows_that_were_put_without_one(hub):
    hub.put("rows", [{"unit": 1, "t": 2}])
    with pytest.raises(SettingsError, match="keyed by their own _id"):
        hub.put("rows", [{"unit": 1, "t": 2}], key=("unit", "t"))

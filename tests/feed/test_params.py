"""Parameters of pipelines: asked for, and typed in a shell."""

from datetime import UTC, datetime

import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, PipelineError, SettingsError
from nemesyst.feed import parameter

pytestmark = pytest.mark.core

ASKS = [{"$match": {"site": {"$param": "site"}}}]


@pytest.mark.parametrize(
    ("params", "arguments", "said"),
    [
        ({"site": 1, "siet": 2}, {"pipeline": ASKS}, "does not ask for 'siet'\n.*did you mean site"),
        ({"day": 2}, {"pipeline": ASKS}, "does not ask for 'day'\n.*there are: site"),
        ({"site": 1}, {}, r"does not ask for 'site'\n.*\"\$param\": \"site\""),
    ],
)
def test_a_parameter_that_nothing_asks_for_is_told(params, arguments, said):
    with pytest.raises(FeedError, match=said):
        nm.Feed("rows", params=params, **arguments)


def test_a_parameter_given_at_binding_is_checked_too(hub):
    hub.put("rows", [{"site": i % 3, "i": i} for i in range(9)], key="i")
    spec = nm.Feed("rows", pipeline=ASKS, inputs="i")
    assert hub.feed(spec, params={"site": 1}).to_numpy()["x"][:, 0].tolist() == [1, 4, 7]
    with pytest.raises(FeedError, match="'sites'\n.*did you mean site"):
        hub.feed(spec, params={"site": 1, "sites": 2})


def test_joins_and_events_ask_too():
    window = nm.Window(on="t", length=4, anchor=[{"$match": {"kind": {"$param": "kind"}}}])
    join = nm.AsOf("weather", by="site", on="t", fields="temp", pipeline=ASKS)
    assert nm.Feed("rows", inputs="air", window=window, join=join, params={"kind": 1, "site": 2}).params


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=12", 12),
        ("n=1.5", 1.5),
        ("n=true", True),
        ("n=warm", "warm"),
        ("n=2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ('n=[1, 2.5, "a"]', [1, 2.5, "a"]),
        ('n={"$gte": 3}', {"$gte": 3}),
        ('n="12"', "12"),
        ("n=null", None),
        ("n=a=b", "a=b"),
        ("n=", ""),
    ],
)  # fmt: skip
def test_values_are_read(text, value):
    assert parameter(text) == ("n", value)


def test_values_are_extended_json():
    _, value = parameter('since={"$gte": {"$date": "2026-01-31T00:00:00Z"}}')
    assert value["$gte"] == datetime(2026, 1, 31, tzinfo=value["$gte"].tzinfo)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("site", "expected NAME=VALUE"),
        ("=3", "expected NAME=VALUE"),
        ("units=[1,", r"--param units: \[1, begins like JSON, and is none: .*column 4\n.*units=\[1, 2\]"),
        ("units=[1] 2", "begins like JSON"),
        ('day={"$oid": "x"}', "begins like JSON, and is none: InvalidId"),
    ],
)
def test_what_is_no_parameter_is_told(text, said):
    with pytest.raises(SettingsError, match=said):
        parameter(text)


def test_a_pipeline_file_with_an_id_that_is_none_is_told(tmp_path):
    (tmp_path / "p.json").write_text('[{"$match": {"_id": {"$oid": "x"}}}]')
    with pytest.raises(PipelineError, match=r"p.json holds a value that is not extended JSON: InvalidId"):
        nm.Feed("rows", tmp_path / "p.json")

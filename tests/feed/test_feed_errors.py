"""What a user is told who asks a feed for what cannot be: what was given, where, what was expected, what to do."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError, NemesystError, PipelineError, SettingsError, UnreachableError

pytestmark = [pytest.mark.core, pytest.mark.slow]


@pytest.fixture
def rows(hub):
    """Telemetry of four units."""
    day = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [
        {"unit": i % 4, "t": i, "air": i / 2, "mode": "on" if i % 3 else "off", "day": day + timedelta(hours=i)}
        for i in range(80)
    ]
    hub.put("rows", rows, key=("unit", "t"))
    return hub


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"params": "x"}, FeedError, r"Feed: params='x' is not a dict\n.*params=\{"),
        ({"inputs": ["$air"]}, FeedError, r"inputs=\['\$air'\] is not a list of field names"),
        ({"inputs": "airr"}, FieldError, r"no document of rows has field 'airr'\n.*did you mean air"),
        ({"shuffle": "yes"}, FeedError, r"shuffle='yes'\n.*True or False"),
        ({"batch_size": 2.5}, FeedError, r"batch_size=2.5\n.*whole number of rows, 1 or more"),
        ({"seed": -1}, FeedError, r"seed=-1\n.*0 or more"),
        ({"missing": [1]}, FeedError, r"missing=\[1\]\n.*nan"),
        ({"scale": "std"}, FeedError, r"scale='std' is not a way to scale\n.*standard"),
        ({"weight": {0: 2.0}}, FeedError, r"classes of one target, and targets=\[\]\n.*label"),
        ({"split": {"test": 0.1}}, FeedError, r"is not a nm.Split\n.*nm.Split\("),
        ({"window": "10"}, FeedError, r"is not a nm.Window\n.*nm.Window\("),
        ({"join": "weather"}, FeedError, r"is not a list of nm.AsOf"),
        ({"map": lambda batch: None}, FeedError, r"map .*lambda>, batch 0 of epoch 0: it returned None"),
        (
            {"pipeline": [{"$match": {"a": {"$param": "site"}}}]},
            PipelineError,
            r"parameter 'site' has no value\n.*params=",
        ),
        ({"pipeline": [{"$mach": {}}]}, PipelineError, r"stage 0: unknown stage '\$mach'\n.*did you mean \$match"),
        ({"batchsize": 3}, FeedError, "unexpected keyword argument 'batchsize'"),
        ({"shard": (3, 3)}, FeedError, r"shard=\(3, 3\)\n.*\(0, 4\)"),
        ({"as_of": "now"}, FeedError, r"as_of: 'now' is not an ISO date and time\n.*2026"),
        ({"as_of": datetime(2090, 1, 1, tzinfo=UTC)}, FeedError, "lies in the future: the server's time is"),
        ({"read_preference": "fastest"}, SettingsError, r"read_preference='fastest'\n.*nearest, primary"),
        ({"bytes_per_second": "fast"}, SettingsError, r"bytes_per_second: 'fast' was given\n.*positive number"),
        ({"shard": (0, 100), "even": True}, FeedError, "80 rows for 100 ranks"),
    ],
)
def test_a_feed_that_does_not_fit_is_told(rows, arguments, error, said):
    with pytest.raises(error, match=said):
        list(rows.feed("rows", **{"inputs": ["air"], **arguments}))


@pytest.mark.parametrize("spec", [5, None, ["rows"]])
def test_what_is_no_feed_is_told(rows, spec):
    with pytest.raises(FeedError, match=r"hub.feed: .* is not a feed\n.*name of a collection"):
        rows.feed(spec, inputs="air")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"split": {"a": 1}},
        {"window": 5},
        {"window": {"on": "t"}},
        {"join": 5},
        {"join": [{"a": 1}]},
        {"inputts": "air"},
    ],
)
def test_a_record_of_a_feed_that_is_none_is_told(rows, values):
    with pytest.raises(FeedError, match=r"\n"):
        rows.feed({"collection": "rows", **values} if values else {})


@pytest.mark.parametrize(
    ("window", "error", "said"),
    [
        ({"by": "site"}, FieldError, "no document of rows has field 'site'"),
        ({"on": 5}, FeedError, r'Window: on=5 is not the name of a field\n.*on="t"'),
        ({"on": "mode"}, FieldError, "field mode holds texts, not times"),
        ({"every": "10s"}, FieldError, r"every='10s', but field t holds numbers\n.*every=10"),
        ({"on": "day", "every": 5}, FieldError, r"every=5, but field day holds dates\n.*10s"),
        ({"every": 5, "max_gap": 1}, FeedError, "max_gap=1 is shorter than every=5"),
        ({"length": 0}, FeedError, r"length=0\n.*1 or more"),
        ({"anchor": 5}, FeedError, r"anchor=5 is neither the name of a field nor a list of stages\n.*door"),
        ({"anchor": [{"$mach": 1}]}, PipelineError, r"Window: anchor, stage 0: unknown stage '\$mach'"),
        (
            {"anchor": [{"$group": {"_id": 1}}]},
            FieldError,
            r"Window: anchor: field unit is missing.*\n.*fields unit and t",
        ),
        ({"fill": "last"}, FeedError, r"fill='last' without every"),
        ({"known": "price"}, FieldError, "no document of rows has field 'price'"),
    ],
)
def test_a_window_that_does_not_fit_is_told(rows, window, error, said):
    with pytest.raises(error, match=said):
        list(
            rows.feed(
                "rows",
                inputs="air",
                targets="air",
                window=nm.Window(**{"by": "unit", "on": "t", "length": 4, **window}),
            )
        )


@pytest.mark.parametrize(
    ("split", "error", "said"),
    [
        ({"test": 1.5}, FeedError, "test=1.5 is not a share"),
        ({"on": "t"}, FeedError, "on='t' without a time"),
        ({"on": "t", "test_from": "soon"}, FeedError, r"test_from='soon' is not a date\n.*2026"),
        ({"on": "t", "test_from": "2026-01-01"}, FieldError, r"field t holds int64, and a part begins at"),
        ({"field": "mode"}, FieldError, r"field mode of some document is 'off'\n.*train, validation, test"),
    ],
)
def test_a_split_that_does_not_fit_is_told(rows, split, error, said):
    with pytest.raises(error, match=said):
        list(rows.feed("rows", inputs="air", split=nm.Split(**split)).train)


def test_a_join_that_hides_a_field_is_told(rows):
    rows.put("other", [{"unit": 1, "t": 0, "air": 1.0}])
    with pytest.raises(FieldError, match=r'a join gives air, which its own rows have too\n.*\{"air": "other_air"\}'):
        rows.feed("rows", inputs="air", join=nm.AsOf("other", by="unit", on="t", fields="air"), missing=0)


def test_numbers_of_numpy_are_numbers(rows):
    spec = nm.Feed(
        "rows", inputs="air", batch_size=np.int64(8), seed=np.uint8(1), missing=np.float32(0), split=nm.Split(on="t", test_from=np.int64(40))
    )  # fmt: skip
    assert len(rows.feed(spec).test) == 5
    window = nm.Window(by="unit", on="t", length=np.int64(4))
    assert nm.Feed.from_dict(spec.with_(window=window).as_dict()).window == window
    assert nm.Split(test=np.float32(0.25), on="day", test_from=np.datetime64("2026-01-02")).test_from == datetime(
        2026, 1, 2, tzinfo=UTC
    )


def changed(state, **values):
    return {**state, **values}


@pytest.mark.parametrize(
    "garbled",
    [
        lambda state: None,
        lambda state: "state",
        lambda state: {},
        lambda state: {name: value for name, value in state.items() if name != "bounds"},
        lambda state: changed(state, as_of=[1]),
        lambda state: changed(state, as_of=[10**12, 1]),
        lambda state: changed(state, parts={"nope": {"epoch": 0, "legs": []}}),
        lambda state: changed(state, parts={"all": {"epoch": -1, "legs": []}}),
        lambda state: changed(state, parts={"all": {"epoch": 0, "legs": [[0, False, 1]]}}),
        lambda state: changed(state, parts={"all": {"epoch": 0, "legs": [[1, False, -5]]}}),
    ],
)
def test_what_is_no_state_is_told_and_changes_nothing(rows, garbled):
    feed = rows.feed("rows", inputs="air", batch_size=50)
    next(iter(feed))
    state = feed.state_dict()
    with pytest.raises(FeedError, match=r"load_state_dict: this is not the state of a feed\n.*state_dict\(\)"):
        feed.load_state_dict(garbled(state))
    assert feed.state_dict() == state


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"version": 9}, r"a state of version 9\n.*version 1"),
        ({"fingerprint": "other"}, r"a feed with fingerprint other, and this one has .*\n.*Use the specification"),
        ({"plan": "other"}, "the plan other cannot be had"),
        ({"bounds": "other"}, "cannot be had"),
        ({"as_of": [4_000_000_000, 1]}, "lies in the future: the server's time is"),
    ],
)
def test_a_state_of_something_else_is_told(rows, values, said):
    feed = rows.feed("rows", inputs="air")
    with pytest.raises(FeedError, match=said):
        feed.load_state_dict({**feed.state_dict(), **values})


def test_an_epoch_that_is_none_is_told(rows):
    feed = rows.feed("rows", inputs="air")
    for epoch in (-1, "x", 0.5):
        with pytest.raises(FeedError, match=r"feed.epoch = .*\n.*0 or more"):
            feed.epoch = epoch


def test_values_that_cannot_be_unscaled_are_told(rows):
    feed = rows.feed("rows", inputs=["air", "t"], scale="standard")
    for values in ("warm", np.zeros((2, 3))):
        with pytest.raises(NemesystError):
            feed.unscale(values, "x")


def test_a_secondary_that_there_is_not_is_told_at_once(hub):
    hub.put("rows", [{"i": 1}])
    with pytest.raises(
        UnreachableError, match="has no secondary that answers; its members: .* \\(the primary\\)"
    ) as error:
        hub.feed("rows", inputs="i", read_preference="secondary")
    assert "secondaryPreferred" in error.value.remedy
    assert len(hub.feed("rows", inputs="i", read_preference="secondaryPreferred").to_numpy()["x"]) == 1

"""The specification of a feed: what is accepted, what is refused before any work, and its fingerprint."""

import json
from datetime import datetime

import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, PipelineError

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": True}, "batch_size=True"),
        ({"seed": -1}, "seed=-1"),
        ({"inputs": []}, "not a list of field names"),
        ({"inputs": ["a", "a"]}, "a twice"),
        ({"split": 0.1}, "not a nm.Split"),
        ({"pipeline": {"$match": {}}}, "expected a list of stages"),
        ({"pipeline": [{"$match": {}, "$limit": 1}]}, "stage 0: expected an object with one key"),
        ({"pipeline": [{"$mach": {}}]}, r"stage 0: unknown stage '\$mach'(.|\n)*\$match"),
    ],
)
def test_a_bad_argument_is_refused_and_named(arguments, said):
    with pytest.raises(FeedError, match=said):
        nm.Feed("telemetry", **arguments)


@pytest.mark.parametrize(
    "stage",
    [
        {"$out": "x"},
        {"$merge": {"into": "x"}},
        {"$match": {"$where": "1"}},
        {"$project": {"x": {"$function": {"body": "", "args": [], "lang": "js"}}}},
        {"$group": {"_id": 1, "x": {"$accumulator": {}}}},
        {"$lookup": {"from": "y", "as": "z", "pipeline": [{"$out": "x"}]}},
        {"$facet": {"one": [{"$match": {"$expr": {"$function": {}}}}]}},
    ],
)
def test_a_pipeline_that_writes_or_runs_code_is_refused(stage):
    with pytest.raises(PipelineError, match="not allowed"):
        nm.Feed("telemetry", [{"$match": {}}, stage])


def test_an_unknown_stage_inside_a_stage_is_found():
    with pytest.raises(PipelineError, match=r"\$lookup, inner stage 0: unknown stage"):
        nm.Feed("telemetry", [{"$lookup": {"from": "y", "as": "z", "pipeline": [{"$mtch": {}}]}}])


def test_a_pipeline_file_is_read_with_dates(tmp_path):
    path = tmp_path / "p.json"
    path.write_text('[{"$match": {"t": {"$gte": {"$date": "2024-01-01T00:00:00Z"}}}}]')
    moment = nm.Feed("telemetry", path).stages()[0]["$match"]["t"]["$gte"]
    assert (moment.year, moment.month, moment.day) == (2024, 1, 1)


@pytest.mark.parametrize(
    ("text", "said"), [('[{"$match": }]', "line 1, column 13"), ("{}", "expected a list"), ('["$match"]', "stage 0")]
)
def test_a_bad_pipeline_file_is_told_with_its_place(tmp_path, text, said):
    path = tmp_path / "p.json"
    path.write_text(text)
    with pytest.raises(PipelineError, match=said):
        nm.Feed("telemetry", path)


def test_parameters_are_put_in_and_a_missing_one_is_named():
    spec = nm.Feed("telemetry", [{"$match": {"site": {"$param": "site"}}}])
    assert spec.stages({"site": 12}) == [{"$match": {"site": 12}}]
    with pytest.raises(PipelineError, match="'site' has no value"):
        spec.stages()


def test_a_specification_comes_back_from_json_the_same():
    spec = nm.Feed(
        "telemetry",
        [{"$match": {"t": {"$gte": datetime(2024, 1, 1)}}}],
        inputs=["air", "power"],
        targets="air",
        split=nm.Split(by="unit", test=0.1),
        shuffle=True,
    )
    again = nm.Feed.from_dict(json.loads(json.dumps(spec.as_dict())))
    assert again.fingerprint == spec.fingerprint


def test_the_fingerprint_does_not_depend_on_how_a_feed_is_written():
    stages = [{"$match": {"site": {"$param": "a"}, "day": {"$param": "b"}}}]
    one = nm.Feed("telemetry", stages, params={"a": 1, "b": 2}, inputs="air")
    other = nm.Feed(collection="telemetry", params={"b": 2, "a": 1}, inputs=["air"], pipeline=tuple(stages))
    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_depends_on_what_a_feed_yields():
    assert nm.Feed("telemetry", inputs="air").fingerprint != nm.Feed("telemetry", inputs="power").fingerprint


@pytest.mark.parametrize(
    "shares", [{"validation": 1.0}, {"test": -0.1}, {"validation": 0.5, "test": 0.5}, {"test": "x"}]
)
def test_a_split_that_leaves_nothing_is_refused(shares):
    with pytest.raises(FeedError, match="Split"):
        nm.Split(**shares)

"""Finding versions by metric, tag, time and entity, and by pipelines over the records."""

from __future__ import annotations

from datetime import timedelta

import pytest

from nemesyst.errors import PipelineError, SettingsError, UnknownModelError


@pytest.fixture
def stored(models, weights):
    """Five versions of two models."""
    for name, mae, tags in (
        ("air", 0.5, {}),
        ("air", 0.2, {"customer": "north"}),
        ("air[site12]", 0.3, {"customer": "south"}),
        ("wind[site12]", 0.1, {"customer": "north", "trial": True}),
        ("wind", float("nan"), {"trial": True}),
    ):
        models.save(weights, name, metrics={"mae": mae, "loss/train.x": 2 * mae}, tags=tags)
    return models


def refs(versions):
    return [version.ref for version in versions]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"where": {"mae": {"<": 0.3}}}, ["air@2", "wind[site12]@1"]),
        ({"where": {"mae": {">": 0.1, "<=": 0.3}}}, ["air@2", "air[site12]@1"]),
        ({"where": {"mae": 0.5}}, ["air@1"]),
        ({"where": {"loss/train.x": {"<": 0.3}}}, ["wind[site12]@1"]),
        ({"where": {"mae": {"<": 9}, "loss/train.x": {">": 0.5}}}, ["air@1", "air[site12]@1"]),
        ({"where": {"rmse": {"<": 9}}}, []),
        ({"tags": {"customer": "north"}}, ["air@2", "wind[site12]@1"]),
        ({"tags": {"customer": "north", "trial": True}}, ["wind[site12]@1"]),
        ({"tags": {"trial": False}}, []),
        ({"entity": "site12"}, ["air[site12]@1", "wind[site12]@1"]),
        ({"entity": "site12", "where": {"mae": {"<": 0.2}}}, ["wind[site12]@1"]),
        ({"name": "air", "where": {"mae": {"<": 0.4}}}, ["air@2", "air[site12]@1"]),
        ({"name": "air", "entity": "site12"}, ["air[site12]@1"]),
        ({"limit": 2}, ["wind@1", "wind[site12]@1"]),
        ({"limit": 2, "newest": True}, ["wind@1", "wind[site12]@1"]),
        ({"name": "air", "newest": True}, ["air[site12]@1", "air@2", "air@1"]),
    ],
)
def test_versions_are_found_by_what_is_recorded(stored, asked, found):
    assert refs(stored.list(**asked)) == found


def test_versions_are_found_by_time(stored):
    moment = stored.get("air[site12]").created
    assert refs(stored.list(since=moment)) == ["air[site12]@1", "wind@1", "wind[site12]@1"]
    assert refs(stored.list("air", until=moment.isoformat())) == ["air@1", "air@2"]
    assert stored.list(since=moment + timedelta(days=1)) == []


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"where": {"mae": {"$lt": 1}}}, r"where\['mae'\]: '\$lt' compares nothing"),
        ({"where": {"mae": "low"}}, r"where\['mae'\]: 'low' is no number"),
        ({"where": ["mae"]}, r"where=\['mae'\] is not a dict"),
        ({"since": "soon"}, "since='soon' is no time"),
        ({"limit": 0}, "limit=0"),
        ({"limit": True}, "limit=True"),
    ],
)
def test_a_condition_that_does_not_fit_is_named(stored, asked, text):
    with pytest.raises(SettingsError, match=text):
        stored.list(**asked)


def test_a_name_that_is_not_there_is_told_also_with_conditions(stored):
    with pytest.raises(UnknownModelError, match="did you mean air"):
        stored.list("airr", where={"mae": {"<": 1}})
    assert stored.list("air", where={"mae": {"<": 0}}) == []


def test_a_pipeline_over_the_records(stored):
    best = [{"$group": {"_id": "$name", "best": {"$min": "$metrics.mae"}}}, {"$sort": {"_id": 1}}]
    assert stored.query(best)[0] == {"_id": "air", "best": 0.2}


def test_a_pipeline_sees_no_weights(stored):
    first = {"$match": {"name": "air"}}, {"$sort": {"number": 1}}, {"$limit": 1}
    (document,) = stored.query([*first])
    assert document["contents"]["model"].keys() == {"digest", "size"}
    assert stored.query([*first, {"$project": {"data": "$contents.model.data", "_id": 0}}]) == [{}]


@pytest.mark.parametrize(
    "stage",
    [
        {"$out": "elsewhere"},
        {"$merge": {"into": "x"}},
        {"$match": {"$where": "1"}},
        {"$group": {"_id": {"$function": {}}}},
    ],
)
def test_a_pipeline_that_writes_or_runs_code_is_refused(stored, state, stage):
    with pytest.raises(PipelineError):
        stored.query([stage])
    assert "elsewhere" not in state.list_collection_names()

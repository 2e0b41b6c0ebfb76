"""Which pipelines can run on a part of a collection at a time, and what that says about their rows."""

import pytest

from nemesyst.errors import PipelineError
from nemesyst.feed.judging import judge
from nemesyst.feed.pipeline import fill, keeps_order, load_pipeline

pytestmark = pytest.mark.core

LOOKUP = {"from": "sites", "localField": "site", "foreignField": "_id", "as": "place"}


def inner(*stages, **more):
    return {"$lookup": {**LOOKUP, "pipeline": list(stages), **more}}


PER_DOCUMENT = [
    {"$match": {"site": 12}},
    {"$project": {"air": 1}},
    {"$set": {"air": {"$add": ["$air", 1]}}},
    {"$addFields": {"NOW": "$NOW"}},
    {"$unset": "air"},
    {"$replaceRoot": {"newRoot": "$inner"}},
    {"$replaceWith": "$inner"},
    {"$unwind": "$readings"},
    {"$redact": {"$cond": [{"$eq": ["$level", 1]}, "$$PRUNE", "$$KEEP"]}},
    {"$fill": {"output": {"air": {"value": 0}}}},
    {"$lookup": LOOKUP},
    inner({"$group": {"_id": None, "n": {"$sum": 1}}}),
    inner({"$sort": {"t": -1}}, {"$limit": 1}),
    {
        "$graphLookup": {
            "from": "units",
            "startWith": "$unit",
            "connectFromField": "a",
            "connectToField": "b",
            "as": "c",
        }
    },
    # what only looks like chance or the clock
    {"$set": {"name": {"$literal": {"$rand": {}}}}},
    {"$set": {"name": {"$literal": "$$NOW"}}},
    {"$match": {"name": "$$NOW"}},
    {"$match": {"name": {"$in": ["$$NOW", "$rand"]}}},
    {"$match": {"name": {"$eq": {"$rand": 1}}}},
    {"$set": {"now": "$NOW"}},
    {"$set": {"now": "$$ROOT.NOW"}},
    {"$set": {"text": "costs $$NOW"}},
    {"$project": {"NOW": 1, "rand": "$rand"}},
    {"$match": {"$expr": {"$gt": ["$air", "$NOW"]}}},
    inner({"$match": {"name": "$$NOW"}}),
]

ACROSS = [
    ({"$group": {"_id": "$unit"}}, "groups"),
    ({"$bucket": {"groupBy": "$air", "boundaries": [0, 1]}}, "groups"),
    ({"$bucketAuto": {"groupBy": "$air", "buckets": 2}}, "groups"),
    ({"$sortByCount": "$unit"}, "groups"),
    ({"$count": "NOW"}, "counts"),
    ({"$sort": {"t": 1}}, "orders"),
    ({"$limit": 3}, "counts from the first"),
    ({"$skip": 3}, "counts from the first"),
    ({"$setWindowFields": {"sortBy": {"t": 1}, "output": {}}}, "neighbouring"),
    ({"$densify": {"field": "t", "range": {"step": 1, "bounds": "full"}}}, "neighbouring"),
    ({"$fill": {"sortBy": {"t": 1}, "output": {"air": {"method": "locf"}}}}, "neighbouring"),
    ({"$fill": {"partitionBy": "$unit", "output": {"air": {"value": 0}}}}, "neighbouring"),
    ({"$facet": {"a": [{"$match": {}}]}}, "runs pipelines over the whole"),
    ({"$unionWith": "other"}, "another collection"),
    ({"$sample": {"size": 3}}, "draws"),
    ({"$geoNear": {"near": [0, 0], "distanceField": "d"}}, "orders"),
]

UNSTEADY = [
    ({"$set": {"u": {"$rand": {}}}}, "$rand"),
    ({"$set": {"u": {"a": [1, {"$add": [{"$rand": {}}, 1]}]}}}, "$rand"),
    ({"$match": {"$sampleRate": 0.5}}, "$sampleRate"),
    ({"$match": {"$and": [{"a": 1}, {"$or": [{"$sampleRate": 0.5}]}]}}, "$sampleRate"),
    ({"$match": {"$expr": {"$lt": [{"$rand": {}}, 0.5]}}}, "$rand"),
    ({"$match": {"$expr": {"$lt": ["$t", "$$NOW"]}}}, "$$NOW"),
    ({"$project": {"t": "$$CLUSTER_TIME"}}, "$$CLUSTER_TIME"),
    ({"$project": {"t": {"$dateToString": {"date": "$$NOW"}}}}, "$$NOW"),
    ({"$set": {"y": {"$let": {"vars": {"now": "$$NOW"}, "in": "$$now"}}}}, "$$NOW"),
    ({"$redact": {"$cond": [{"$lt": [{"$rand": {}}, 0.5]}, "$$PRUNE", "$$KEEP"]}}, "$rand"),
    ({"$replaceWith": {"a": {"$rand": {}}}}, "$rand"),
    ({"$fill": {"output": {"air": {"value": {"$rand": {}}}}}}, "$rand"),
    (inner({"$match": {"$sampleRate": 0.5}}), "$sampleRate"),
    (inner({"$sample": {"size": 1}}), "$sample"),
    (inner({"$lookup": {"from": "x", "pipeline": [{"$set": {"u": {"$rand": {}}}}], "as": "y"}}), "$rand"),
    (inner({"$match": {}}, let={"now": "$$NOW"}), "$$NOW"),
    ({"$facet": {"a": [{"$set": {"u": {"$rand": {}}}}]}}, "$rand"),
    ({"$unionWith": {"coll": "b", "pipeline": [{"$set": {"u": {"$rand": {}}}}]}}, "$rand"),
    (
        {
            "$graphLookup": {
                "from": "u",
                "startWith": "$u",
                "connectFromField": "a",
                "connectToField": "b",
                "as": "c",
                "restrictSearchWithMatch": {"$expr": {"$lt": ["$t", "$$NOW"]}},
            }
        },
        "$$NOW",
    ),
]


@pytest.mark.parametrize("stage", PER_DOCUMENT, ids=str)
def test_a_stage_of_one_document_at_a_time_is_pushed_down(stage):
    found = judge([stage])
    assert found.per_document
    assert found.steady
    assert found.reasons == ()


@pytest.mark.parametrize(("stage", "why"), ACROSS, ids=str)
def test_a_stage_across_documents_says_why(stage, why):
    found = judge([{"$match": {}}, stage])
    assert not found.per_document
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith(f"stage 1, {next(iter(stage))}: ")
    assert why in found.reasons[0]


@pytest.mark.parametrize(("stage", "what"), UNSTEADY, ids=str)
def test_chance_and_the_clock_are_found_wherever_they_are(stage, what):
    found = judge([stage])
    assert not found.per_document
    assert not found.steady
    assert what in found.reasons[0]


def test_a_text_search_runs_once():
    assert "$text" in judge([{"$match": {"$text": {"$search": "door"}}}]).reasons[0]


def test_every_stage_has_a_verdict():
    found = judge([{"$match": {"a": 1}}, {"$group": {"_id": "$b"}}])
    assert [(each.name, each.per_document) for each in found.verdicts] == [("$match", True), ("$group", False)]


def test_collections_that_are_read_are_named_inside_too():
    stages = [
        inner({"$lookup": {"from": "owners", "pipeline": [], "as": "o"}}),
        {"$graphLookup": {"from": "units", "startWith": 1, "connectFromField": "a", "connectToField": "b", "as": "c"}},
        {"$facet": {"a": [{"$unionWith": "b"}], "c": [{"$unionWith": {"coll": "d"}}]}},
        {"$lookup": {"pipeline": [{"$documents": [{"a": 1}]}], "as": "x"}},
    ]
    assert judge(stages).lookups == ("b", "d", "owners", "sites", "units")


@pytest.mark.parametrize(
    ("stages", "keeps", "carries"),
    [
        ([], True, True),
        ([{"$match": {"a": 1}}, {"$set": {"a": 2}}, {"$unset": "b"}, {"$lookup": LOOKUP}], True, True),
        ([{"$project": {"a": 1}}], True, True),
        ([{"$project": {"_id": 1, "a": 1}}], True, True),
        ([{"$project": {"_id": "$_id", "a": 1}}], True, True),
        ([{"$project": {"a": 0}}], True, True),
        ([{"$project": {"_id": 0, "a": 1}}], False, False),
        ([{"$project": {"_id": False}}], False, False),
        ([{"$project": {"_id": "$a"}}], False, False),
        ([{"$project": {"_id.unit": 1}}], False, False),
        ([{"$project": {"_id": {"unit": 1}}}], False, False),
        ([{"$unset": "_id"}], False, False),
        ([{"$unset": ["a", "_id.t"]}], False, False),
        ([{"$set": {"_id": "$unit"}}], False, False),
        ([{"$set": {"_id.t": 1}}], False, False),
        ([{"$set": {"_id": "$_id"}}], True, True),
        ([{"$unwind": "$a"}], False, True),
        ([{"$unwind": {"path": "$a", "includeArrayIndex": "_id"}}], False, False),
        ([{"$unwind": "$a"}, {"$project": {"_id": 0}}], False, False),
        ([{"$replaceRoot": {"newRoot": "$a"}}], False, False),
        ([{"$replaceWith": "$$ROOT"}], True, True),
        ([{"$replaceWith": {"$mergeObjects": ["$a", "$$ROOT"]}}], True, True),
        ([{"$replaceWith": {"$mergeObjects": ["$$ROOT", "$a"]}}], False, False),
        ([{"$redact": "$$KEEP"}], True, True),
        ([{"$redact": {"$cond": ["$a", "$$DESCEND", "$$PRUNE"]}}], False, False),
        ([{"$lookup": {**LOOKUP, "as": "_id"}}], False, False),
        ([{"$fill": {"output": {"_id": {"value": 1}}}}], False, False),
        ([{"$group": {"_id": "$a"}}], False, False),
        ([{"$sort": {"a": 1}}, {"$limit": 3}], True, True),
    ],
    ids=str,
)
def test_whether_the_id_of_a_row_is_its_documents_own(stages, keeps, carries):
    found = judge(stages)
    assert (found.keeps_id, found.carries_id) == (keeps, carries)


@pytest.mark.parametrize(
    ("stages", "match"),
    [
        ([], None),
        ([{"$match": {}}], None),
        ([{"$match": {"a": 1}}, {"$set": {"b": 1}}], {"a": 1}),
        ([{"$match": {"a": 1}}, {"$match": {"b": 2}}], {"$and": [{"a": 1}, {"b": 2}]}),
        ([{"$set": {"b": 1}}, {"$match": {"a": 1}}], {"a": 1}),
        ([{"$set": {"a.x": 1}}, {"$match": {"a": 1}}], None),
        ([{"$set": {"b": 1}}, {"$match": {"$or": [{"a": 1}, {"b": 1}]}}], None),
        ([{"$set": {"b": 1}}, {"$match": {"$expr": {"$gt": ["$b", 0]}}}], None),
        ([{"$unwind": "$r"}, {"$match": {"a": 1}}, {"$match": {"r.x": 2}}], {"a": 1}),
        ([{"$unset": ["a"]}, {"$match": {"a": None}}], None),
        ([{"$lookup": LOOKUP}, {"$match": {"place.x": 1}}], None),
        ([{"$project": {"a": 1}}, {"$match": {"a": 1}}], None),
        ([{"$limit": 5}, {"$match": {"a": 1}}], None),
        ([{"$sort": {"t": 1}}, {"$match": {"a": 1}}], None),
        ([{"$match": {"a": 1, "$sampleRate": 0.5}}], None),
        ([{"$match": {"$expr": {"$lt": ["$a", "$b"]}}}], {"$expr": {"$lt": ["$a", "$b"]}}),
    ],
    ids=str,
)
def test_the_match_that_decides_which_documents_enter(stages, match):
    assert judge(stages).match == match


def test_an_unknown_stage_inside_is_told_with_its_place():
    with pytest.raises(PipelineError, match=r"stage 0 \$facet a, inner stage 0: unknown stage '\$mach'"):
        judge([{"$facet": {"a": [{"$mach": {}}]}}])


def test_a_field_that_is_called_pipeline_holds_no_stages():
    assert load_pipeline([{"$set": {"pipeline": [1, 2]}}])


@pytest.mark.parametrize("value", [{"$function": {}}, [{"$out": "x"}], {"a": [{"$where": "1"}]}])
def test_a_parameter_may_not_bring_what_a_pipeline_may_not_hold(value):
    with pytest.raises(PipelineError, match="parameter 'p' holds"):
        fill([{"$match": {"a": {"$param": "p"}}}], {"p": value})


def test_filling_with_a_value_keeps_the_order_of_rows():
    assert keeps_order([{"$fill": {"output": {"a": {"value": 0}}}}])
    assert not keeps_order([{"$fill": {"sortBy": {"t": 1}, "output": {"a": {"method": "linear"}}}}])

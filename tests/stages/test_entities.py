"""One model for each entity, on its own rows."""

import numpy as np
import pytest
from bson import ObjectId

import nemesyst as nm
from nemesyst.errors import FeedError, NemesystError, ScriptError
from nemesyst.stages import JobContext, expand, load_script, stage_of, work
from nemesyst.stages.entities import by_text, entity_text
from nemesyst.stages.placing import placement

pytestmark = [pytest.mark.core, pytest.mark.slow]

SITES = ["north", "south", 12]
FEED = nm.Feed("rows", inputs="t", targets="air", scale="standard", split=nm.Split(test=0.2))


@pytest.fixture
def rows(hub):
    hub.put(
        "rows",
        [{"site": SITES[t % 3], "t": t, "air": float(t % 3 * 100 + t % 7), "ok": t < 150} for t in range(300)],
        key="t",
    )
    hub.put("rows", [{"t": 1000, "air": 0.0}], key="t")
    return hub


def declared(feed=FEED, function=None, **options):
    def learn(run):
        y = run.feed.train.to_numpy()["y"]
        return nm.Trained({"mean": run.feed.unscale(y).mean(0)}, metrics={"rows": len(y)})

    options = {"model": "air", "entities": "site"} | options
    return stage_of(nm.learner(feed, **options)(function or learn))


def entities(hub, **options):
    return [piece.entity for piece in expand(hub, declared(**options)).pieces]


def trained(hub, stage, entity):
    work(hub, stage, {}, JobContext(entity=entity))
    return hub.models.get(f"air[{entity}]")


def test_the_values_of_a_field_are_the_entities_and_rows_without_it_are_told(rows):
    found = expand(rows, declared())
    assert [piece.label for piece in found.pieces] == ["[12]", "[north]", "[south]"]
    assert found.note == "learn: rows of rows without site belong to no entity"


def test_each_has_its_own_rows_parts_and_scale(rows):
    stage = declared()
    means = {site: float(rows.models.load(trained(rows, stage, site).ref)["mean"][0]) for site in SITES}
    assert [round(means[site], -2) for site in SITES] == [0, 100, 200]
    alone = rows.feed(nm.Feed("rows", pipeline=[{"$match": {"site": 12}}], inputs="t", targets="air", split=FEED.split))
    assert rows.models.get("air[12]").metrics["rows"] == len(alone.train.to_numpy()["y"])


def test_a_list_a_pipeline_and_both_by_field(rows):
    assert entities(rows, entities={"site": ["south", "north"]}) == ["north", "south"]
    late = [{"$match": {"t": {"$gte": 2, "$lt": 4}}}, {"$group": {"_id": "$site"}}]
    assert entities(rows, entities={"site": late}) == [12, "north"]
    windowed = nm.Feed("rows", inputs="air", window=nm.Window(by="site", on="t", length=2))
    assert entities(rows, feed=windowed, entities=["north"]) == ["north"]


def test_the_pipeline_may_ask_for_the_entity(rows):
    feed = nm.Feed("rows", pipeline=[{"$match": {"site": {"$param": "entity"}}}], inputs="t", targets="air")
    stage = declared(feed, entities=["north", "south"])
    assert trained(rows, stage, "south").metrics["rows"] == 100


def test_a_pipeline_of_single_documents_decides_which_entities_there_are(rows):
    made = nm.Feed(
        "rows",
        pipeline=[{"$set": {"zone": {"$toString": "$site"}}}, {"$match": {"ok": True}}],
        inputs="t",
        targets="air",
    )
    assert entities(rows, feed=made, entities="zone") == ["12", "north", "south"]
    assert trained(rows, declared(made, entities="zone"), "north").metrics["rows"] == 50


@pytest.mark.parametrize(
    ("stages", "place", "end"),
    [
        ([], 0, 0),
        ([{"$match": {"ok": 1}}, {"$project": {"air": 1}}], 0, 1),
        ([{"$project": {"air": 0}}], 0, 1),
        ([{"$project": {"site": "$name"}}, {"$match": {}}], 1, 2),
        ([{"$unwind": "$units"}, {"$set": {"site.id": 1}}, {"$unset": "site"}], 2, 2),
        ([{"$group": {"_id": "$site"}}, {"$set": {"site": "$_id"}}], 0, 0),
        ([{"$replaceRoot": {"newRoot": "$unit"}}], 1, 1),
        ([{"$lookup": {"from": "sites", "as": "site", "pipeline": []}}], 1, 1),
        ([{"$match": {"site": {"$param": "entity"}}}], 0, 0),
    ],
)
def test_rows_are_chosen_in_front_or_after_what_makes_the_field(stages, place, end):
    assert placement("site.id", stages) == (place, end)


def test_numbers_of_either_kind_have_one_text():
    assert [entity_text(value) for value in (12, 12.0, "12", 1.5, -3)] == ["12", "12", "12", "1.5", "-3"]
    assert entity_text(ObjectId("0" * 24)) == "0" * 24


@pytest.mark.parametrize("value", [True, None, float("nan"), 1e-9, [1], {"a": 1}, b"x"])
def test_other_values_are_no_entities(value):
    with pytest.raises(ScriptError, match="is no entity"):
        entity_text(value)


@pytest.mark.parametrize("value", ["", "a[1]", "x\ny", "x" * 201])
def test_a_text_that_no_reference_can_hold_is_refused(value):
    with pytest.raises(ScriptError, match="cannot name"):
        entity_text(value)


def test_values_that_are_called_the_same_are_refused(rows):
    with pytest.raises(ScriptError, match=r"'12' and 12 are both called \[12\]"):
        by_text(["12", 12])
    rows.put("rows", [{"site": "12", "t": 2000, "air": 1.0}], key="t")
    with pytest.raises(ScriptError, match=r"both called \[12\]"):
        entities(rows)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"entities": []}, "names none"),
        ({"entities": ["a", "a"]}, r"both called \[a\]"),
        ({"entities": 3}, "entities=3"),
        ({"entities": "$site"}, "is no field"),
        ({"entities": ["a"]}, "not known which rows"),
        ({"entities": {"a": [1], "b": [2]}}, "One field and its values"),
        ({"model": "air[x]"}, "names an entity itself"),
        ({"workers": 0}, "workers=0"),
        ({"gpus": -1}, "gpus=-1"),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options, said):
    with pytest.raises(ScriptError, match=f"(?s){said}"):
        declared(**options)


@pytest.mark.parametrize(
    ("feed", "entities", "said"), [("rows", "sight", "gives no entity"), ("nope", "site", "no collection 'nope'")]
)
def test_no_entities_are_an_error(rows, feed, entities, said):
    with pytest.raises(FeedError, match=said):
        expand(rows, declared(nm.Feed(feed), entities=entities))


def test_a_model_goes_on_from_its_own_entitys_champion(rows):
    parents = []

    def learn(run):
        parents.append(run.parent and run.parent.ref)
        list(run.feed)
        return nm.Trained({"m": np.zeros(1)})

    stage = declared(function=learn, promote="champion", parent="@champion")
    for site in ("north", "south", "north"):
        work(rows, stage, {}, JobContext(entity=site))
    assert parents == [None, None, "air[north]@1"]


def test_a_replay_trains_on_the_entitys_rows_again(rows, tmp_path):
    path = tmp_path / "air.py"
    path.write_text(
        "import numpy as np\nimport nemesyst as nm\n\n"
        "@nm.learner(nm.Feed('rows', inputs='t', targets='air'), model='air', entities='site')\n"
        "def learn(run):\n    return nm.Trained({'mean': run.feed.to_numpy()['y'].mean(0)})\n"
    )
    stage = load_script(path).stage("learn")
    for entity in (12, "north"):
        work(rows, stage, {}, JobContext(path, entity))
        assert rows.models.replay(f"air[{entity}]").identical


def test_a_predictor_of_every_entity_predicts_on_the_rows_of_each(rows):
    stage = declared(promote="champion")
    for site in SITES:
        work(rows, stage, {}, JobContext(entity=site))

    @nm.predictor("air[*]@champion", into="said")
    def infer(run, batch):
        return {"air": np.repeat(run.model["mean"], len(batch["x"]))}

    pieces = expand(rows, stage_of(infer)).pieces
    assert [piece.model for piece in pieces] == [f"air[{site}]@champion" for site in ("12", "north", "south")]
    for piece in pieces:
        work(rows, stage_of(infer), {}, JobContext(entity=piece.entity, changes=nm.stages.Changes(model=piece.model)))
    assert rows.db.said.count_documents({"job": "infer[north]", "model": "air[north]@1"}) == 100


def test_a_predictor_of_entities_that_nobody_learned_is_told(rows):
    @nm.predictor("air[*]@champion", into="said")
    def infer(run, batch): ...

    with pytest.raises(NemesystError, match="air"):
        expand(rows, stage_of(infer))

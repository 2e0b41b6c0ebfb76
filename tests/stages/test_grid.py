"""Grids of arguments, and the best of what they make."""

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import ScriptError, SettingsError
from nemesyst.stages import combinations, expand, promote_best, stage_of

pytestmark = pytest.mark.core

FEED = nm.Feed("rows", inputs="x", targets="y")
SPLIT = FEED.with_(split=nm.Split(test=0.5))


def declared(feed=FEED, **options):
    @nm.learner(feed, model="line", **options)
    def learn(run, hidden: int = 8, lr: float = 0.1): ...

    return stage_of(learn)


def test_each_combination_is_a_job(hub):
    pieces = expand(hub, declared(grid={"hidden": [8, 16], "lr": np.array([0.1, 0.2])})).pieces
    assert [piece.label for piece in pieces] == [
        "hidden=8 lr=0.1",
        "hidden=8 lr=0.2",
        "hidden=16 lr=0.1",
        "hidden=16 lr=0.2",
    ]
    assert pieces[1].args == {"hidden": 8, "lr": 0.2}


def test_entities_times_combinations(hub):
    stage = declared(grid={"hidden": [8, 16]}, entities={"site": ["a", "b"]})
    assert [p.label for p in expand(hub, stage).pieces] == [
        "[a] hidden=8",
        "[a] hidden=16",
        "[b] hidden=8",
        "[b] hidden=16",
    ]


def test_without_a_grid_there_is_one_empty_combination():
    assert list(combinations(None)) == [{}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"grid": {"hiden": [8]}}, "did you mean hidden"),
        ({"grid": {"hidden": []}}, "is empty"),
        ({"grid": {"hidden": [8, 8]}}, "names a value twice"),
        ({"grid": {"hidden": "8"}}, "is no list"),
        ({"grid": {"hidden": [object()]}}, "no JSON value"),
        ({"grid": [8]}, "Values by argument"),
        ({"grid": {"lr": [0.1]}, "promote": "champion"}, "whichever job ends last"),
        ({"best": "mae", "promote": "champion"}, "only the best one"),
        ({"best": 3}, "best=3"),
        ({"best": nm.Best("mae", on="test")}, "has no split"),
        ({"feed": SPLIT, "best": nm.Best("loss")}, "which metric is compared on the test part"),
    ],
)
def test_a_wrong_declaration_is_told_at_once(options, said):
    with pytest.raises(ScriptError, match=said):
        declared(**options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": ""}, "metric=''"),
        ({"metric": "score"}, "not known when 'score' is better"),
        ({"metric": "mae", "on": "tests"}, "on='tests'"),
        ({"metric": "mae", "better": "more"}, "better='more'"),
        ({"metric": "mae", "margin": "x"}, "margin='x'"),
        ({"metric": "mae", "gate": "mea"}, "did you mean mse or mae"),
        ({"metric": "mae", "alias": "latest"}, "latest"),
    ],
)
def test_a_wrong_best_is_told_at_once(options, said):
    with pytest.raises(SettingsError, match=said):
        nm.Best(**options)


@pytest.mark.parametrize(("metric", "better"), [("val/mae", "lower"), ("accuracy", "higher"), ("val/loss", "lower")])
def test_when_a_metric_is_better_is_known_by_its_name(metric, better):
    assert nm.Best(metric).better == better


def test_the_best_has_the_best_number_and_others_are_left_out():
    versions = [{"ref": f"m@{n}", "metrics": {"mae": value}} for n, value in enumerate([2.0, float("nan"), 1.0, 1.0])]
    assert nm.Best("mae").chosen(versions) == ("m@2", 1.0)
    assert nm.Best("mae", better="higher").chosen(versions) == ("m@0", 2.0)
    with pytest.raises(ScriptError, match="did you mean mae"):
        nm.Best("val/mae", better="lower").chosen(versions)


def saved(hub, *values):
    versions = [hub.models.save({"w": np.array([v])}, "line", metrics={"mae": v}) for v in values]
    return [{"ref": version.ref, "metrics": dict(version.metrics)} for version in versions]


def test_the_first_is_promoted_and_a_later_one_only_if_its_record_is_better(hub):
    best = nm.Best("mae", margin=0.1)
    said, _ = promote_best(hub, best, "line", FEED, saved(hub, 3.0, 2.0))
    assert said == "line@2 is the best of 2 (mae 2), promoted as the first champion"
    said, details = promote_best(hub, best, "line", FEED, saved(hub, 1.95))
    assert "line@2 stays champion: mae is 1.95 for line@3, and 2 for line@2" in said
    assert not details["promoted"]
    promote_best(hub, best, "line", FEED, saved(hub, 1.5))
    assert hub.models.get("line@champion").number == 4
    assert hub.models.history("line@champion")[-1].evidence["over"] == "line@2"


def test_a_later_one_must_pass_the_gate_on_the_test_part(hub):
    linear = pytest.importorskip("sklearn.linear_model", reason="needs the sklearn extra")
    hub.put("rows", [{"i": i, "x": i / 10, "y": 3 * i / 10 + i % 3} for i in range(600)], key="i")
    rows = hub.feed(SPLIT).train.to_numpy()

    def trained(shift, mae):
        model = linear.LinearRegression().fit(rows["x"], rows["y"][:, 0] + shift)
        version = hub.models.save(model, "line", feed=hub.feed(SPLIT), metrics={"mae": mae})
        return promote_best(hub, nm.Best("mae"), "line", SPLIT, [{"ref": version.ref, "metrics": {"mae": mae}}])[0]

    assert "promoted as the first" in trained(1.0, 1.0)
    assert "line@1 stays champion" in trained(2.0, 0.1)  # whatever it says of itself
    assert "promoted to champion over line@1" in trained(0.0, 5.0)

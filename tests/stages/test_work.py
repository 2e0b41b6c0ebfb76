"""The stages themselves, run in this process."""

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import FeedError, FieldError, ScriptError
from nemesyst.stages import stage_of, work

pytestmark = [pytest.mark.core, pytest.mark.slow]


def run(hub, function, **arguments):
    return work(hub, stage_of(function), arguments)


@pytest.fixture
def rows(hub):
    @nm.wrangler(into="rows", key="i")
    def clean(_run, count: int = 100):
        for i in range(count):
            yield {"i": i, "x": float(i), "y": 2.0 * i}

    run(hub, clean)
    return hub


FEED = nm.Feed("rows", inputs="x", targets="y", split=nm.Split(test=0.2), batch_size=16)


@nm.learner(FEED, model="line", promote="champion")
def fit(run, factor: float = 1.0):
    """A line through the origin, as a dict of arrays."""
    train = run.feed.train.to_numpy()
    slope = (train["x"] * train["y"]).sum() / (train["x"] ** 2).sum()
    return nm.Trained({"slope": np.array([slope * factor])}, metrics={"slope": slope})


@nm.predictor("line@champion", into="lines", part="test")
def infer(run, batch):
    """What the line says."""
    return {"y": batch["x"][:, 0] * run.model["slope"][0]}


def test_a_wrangler_stores_what_it_yields_and_again_changes_nothing(rows):
    assert rows.db.rows.count_documents({}) == 100

    @nm.wrangler(into="rows", key="i")
    def again(_run):
        yield {"i": 0, "x": -1.0}

    assert "1 unchanged" in run(rows, again).summary
    assert rows.db.rows.find_one({"_id": 0})["x"] == 0


def test_a_wrangler_may_yield_tables(hub):
    pandas = pytest.importorskip("pandas", reason="needs the pandas extra")

    @nm.wrangler(into="frames")
    def frames(_run):
        yield pandas.DataFrame({"a": [1, 2]})
        yield {"a": 3}

    run(hub, frames)
    assert sorted(row["a"] for row in hub.db.frames.find()) == [1, 2, 3]


def test_a_learner_saves_promotes_and_records_where_the_model_came_from(rows):
    outcome = run(rows, fit, factor=2)
    version = rows.models.get("line@champion")
    assert version.ref == "line@1"
    assert version.args == {"factor": 2.0}
    assert version.metrics["slope"] == pytest.approx(2)
    assert nm.Feed.from_dict(version.feed).fingerprint == FEED.fingerprint
    assert version.rows["train"] == len(rows.feed(FEED).train.to_numpy()["x"])
    assert "saved line@1, promoted to champion" in outcome.summary


def test_a_learner_may_yield_several_models(rows):
    @nm.learner(FEED, model="many")
    def several(_run):
        for slope in (1.0, 2.0):
            yield nm.Trained({"slope": np.array([slope])})

    assert [brief["ref"] for brief in run(rows, several).details["versions"]] == ["many@1", "many@2"]


def test_a_predictor_writes_one_prediction_for_each_row_of_its_part(rows):
    run(rows, fit)
    run(rows, infer)
    run(rows, infer)
    predictions = {row["source"]: row for row in rows.db["lines"].find()}
    test = rows.feed(FEED).test.to_numpy()["x"][:, 0]
    assert sorted(predictions) == sorted(test)
    assert all(row["y"] == pytest.approx(2 * source) for source, row in predictions.items())
    assert {row["model"] for row in predictions.values()} == {"line@1"}


def test_a_later_version_replaces_the_predictions(rows):
    run(rows, fit)
    run(rows, infer)
    run(rows, fit, factor=3)
    run(rows, infer)
    assert {row["model"] for row in rows.db["lines"].find()} == {"line@2"}


@pytest.mark.parametrize(
    ("result", "said"), [(None, "gave NoneType"), ({"w": 1}, "gave dict, expected nm.Trained"), ([], "gave list")]
)
def test_a_learner_that_gives_no_model_is_told(rows, result, said):
    @nm.learner(FEED, model="m")
    def wrong(_run):
        return result

    with pytest.raises(ScriptError, match=said):
        run(rows, wrong)


@pytest.mark.parametrize(
    ("result", "said"),
    [(lambda b: b["x"], "expected named arrays"), (lambda _: {"y": [1, 2]}, r"shape \(2,\) for a batch")],
)
def test_a_predictor_that_gives_no_row_for_each_row_is_told(rows, result, said):
    @nm.predictor("line", into="p")
    def wrong(_run, batch):
        return result(batch)

    run(rows, fit)
    with pytest.raises(ScriptError, match=said):
        run(rows, wrong)


def test_a_wrangler_that_yields_nothing_is_told(hub):
    @nm.wrangler(into="rows")
    def wrong(_run):
        """Forgets to yield."""

    with pytest.raises(ScriptError, match="wrong yields nothing"):
        run(hub, wrong)


def test_a_learner_on_a_field_that_is_not_there_fails_before_its_function_runs(rows):
    ran = []

    @nm.learner(nm.Feed("rows", inputs="z"), model="m")
    def never(run):
        ran.append(run)

    with pytest.raises(FieldError, match="'z'"):
        run(rows, never)
    assert ran == []


def test_a_runs_log_takes_numbers_only(hub):
    with pytest.raises(ScriptError, match="no number"):
        nm.Run(hub).log({"loss": "low"})


def test_a_wranglers_run_has_no_feed(hub):
    with pytest.raises(ScriptError, match="has no feed"):
        _ = nm.Run(hub).feed


def test_a_learner_whose_feed_gives_no_row_saves_nothing(rows):
    @nm.learner(FEED.with_(pipeline=[{"$match": {"x": {"$lt": -1}}}]), model="nothing")
    def learn(run):
        list(run.feed.train)
        return nm.Trained({"slope": np.zeros(1)})

    with pytest.raises(FeedError, match="gave no row"):
        run(rows, learn)
    assert rows.models.names() == []


def test_two_predictors_may_share_a_collection(rows):
    @nm.predictor("line@champion", into="lines")
    def other(_run, batch):
        return {"z": batch["x"][:, 0]}

    run(rows, fit)
    run(rows, infer)
    run(rows, other)
    assert rows.db["lines"].count_documents({"job": "other"}) == 100
    assert rows.db["lines"].count_documents({"job": "infer", "y": {"$exists": True}}) > 0


def test_weights_without_a_build_function_are_told_in_a_predictors_words(rows):
    torch = pytest.importorskip("torch", reason="needs the torch extra")
    rows.models.save(torch.nn.Linear(1, 1), "net", feed=rows.feed(FEED))

    @nm.predictor("net", into="p")
    def predict(run, batch):
        return {"y": run.predict(batch)[:, 0]}

    with pytest.raises(ScriptError, match=r"@nm.predictor\('net', ..., build="):
        run(rows, predict)


def test_a_versions_feed_can_be_bound_again(rows):
    run(rows, fit)
    feed = rows.feed(rows.models.get("line").feed)
    assert feed.spec.fingerprint == FEED.fingerprint


@pytest.mark.parametrize("name", ["source", "model", "job", "_id", "a.b", "$a", 5, ""])
def test_a_prediction_may_not_be_named_like_a_field_of_ours(rows, name):
    @nm.predictor("line", into="p")
    def wrong(_run, batch):
        return {name: batch["x"][:, 0]}

    run(rows, fit)
    with pytest.raises(ScriptError, match="cannot name a prediction"):
        run(rows, wrong)


def test_rejected_predictions_are_told(rows):
    @nm.predictor("line", into="p")
    def odd(_run, batch):
        return {"y": np.array([object()] * len(batch["x"]))}

    run(rows, fit)
    assert "100 rejected, see p.rejected" in run(rows, odd).summary


def test_without_a_function_the_plain_output_is_stored(rows):
    linear = pytest.importorskip("sklearn.linear_model", reason="needs the sklearn extra")
    train = rows.feed(FEED).train.to_numpy()
    model = linear.LinearRegression().fit(train["x"], train["y"][:, 0])
    rows.models.save(model, "ridge", feed=rows.feed(FEED))
    work(rows, nm.predictor("ridge", into="outputs").plain("plain"), {})
    assert all(row["output"] == pytest.approx(2 * row["source"], abs=1e-3) for row in rows.db["outputs"].find())
    assert rows.db["outputs"].count_documents({"job": "plain"}) == 100

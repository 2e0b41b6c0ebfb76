"""A learner as a plain function."""

import random

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import ScriptError, SettingsError

pytestmark = [pytest.mark.core, pytest.mark.slow]

FEED = nm.Feed("rows", inputs="x", targets="y", split=nm.Split(validation=0.3), seed=5)


@pytest.fixture
def rows(hub):
    hub.put("rows", [{"i": n, "site": n % 2, "x": n / 10, "y": (n % 2 + 1) * n / 10} for n in range(60)], key="i")
    return hub


@nm.learner(FEED, model="line", entities="site")
def fit(run, factor: float = 1.0, steps: int = 3):
    train = run.feed.train.to_numpy()
    slope = (train["x"] * train["y"]).sum() / (train["x"] ** 2).sum()
    for step in range(steps):
        run.log({"loss": step}, step=step)
    return nm.Trained(
        {"slope": np.array([slope * factor])}, metrics={"slope": slope * factor, "drawn": random.random()}
    )


def test_it_gives_what_the_learner_returns_and_stores_nothing(rows):
    trained = nm.trial(rows, fit, {"factor": 2}, entity=1)
    assert trained.metrics["slope"] == pytest.approx(4.0)
    assert nm.trial(rows, fit).metrics["drawn"] == trained.metrics["drawn"]
    assert rows.models.list() == []


def test_what_is_logged_is_heard_and_an_exception_ends_it(rows):
    class PrunedError(Exception):
        pass

    def hear(values, step):
        heard.append((values["loss"], step))
        if step == 1:
            raise PrunedError

    heard = []
    with pytest.raises(PrunedError):
        nm.trial(rows, fit, on_log=hear)
    assert heard == [(0.0, 0), (1.0, 1)]


def test_a_mistake_is_named(rows):
    with pytest.raises(SettingsError, match="factor"):
        nm.trial(rows, fit, {"factr": 2})
    with pytest.raises(SettingsError, match="factor='a'"):
        nm.trial(rows, fit, {"factor": "a"})
    with pytest.raises(ScriptError, match="no learner"):
        nm.trial(rows, nm.wrangler(into="x")(lambda run: []))
    with pytest.raises(ScriptError, match="trained nothing"):
        nm.trial(rows, _nothing)


@nm.learner(FEED, model="line")
def _nothing(run):
    yield from ()

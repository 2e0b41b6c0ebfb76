"""Whether a version may have been trained on the rows that it is evaluated on: evaluations say so."""

from __future__ import annotations

import pytest

import nemesyst as nm
from nemesyst.models.evaluation.seen import unseen

from .telemetry import learn, predict, put, spec


def caution(hub, part, ref="air@1"):
    found = hub.models.evaluate(ref, part, "mae", predict=predict)
    said = found.rows[0].caution
    assert said is None or said in str(found)
    return said


@pytest.mark.slow
def test_an_evaluation_says_when_a_version_may_have_seen_the_rows(hub):
    put(hub)
    learn(hub, spec=spec())
    own, other = hub.feed(spec()), hub.feed(spec(split=nm.Split(test=0.6)))
    assert caution(hub, own.test) is None
    assert caution(hub, own.train) == caution(hub, own) == "may have been trained on these rows"
    assert caution(hub, other.test) == "its own split is another one: it may have been trained on some of these rows"
    assert caution(hub, other.test).startswith("its own split")  # also where the result is found


@pytest.mark.slow
def test_an_evaluation_says_when_a_version_goes_on_from_one_that_may_have_seen_the_rows(hub):
    put(hub)
    learn(hub, spec=spec(split=nm.Split(test=0.01)))
    learn(hub, spec=spec(), parent="air@1")
    assert caution(hub, hub.feed(spec()).test, "air@2").startswith("air@1, from which it goes on, may have been")


@pytest.mark.slow
def test_an_evaluation_says_when_a_version_was_trained_on_another_collection(hub):
    put(hub)
    put(hub, collection="other")
    learn(hub, spec=spec())
    assert "trained on another collection, tel" in caution(hub, hub.feed(spec().with_(collection="other")).test)


THIRDS = nm.Split(by="unit", test=0.3, validation=0.1)
FROM = nm.Split(on="t", validation_from=100, test_from=200)


@pytest.mark.core
@pytest.mark.parametrize(
    ("own", "on", "part", "never"),
    [
        (THIRDS, THIRDS, "test", True),
        (None, THIRDS, "test", False),
        (THIRDS, nm.Split(by="unit", test=0.2), "test", True),  # some of the same devices
        (THIRDS, nm.Split(by="unit", test=0.5), "test", False),
        (THIRDS, nm.Split(by="site", test=0.2), "test", False),
        (THIRDS, nm.Split(by="unit", validation=0.2, test=0.2), "validation", True),
        (THIRDS, nm.Split(by="unit", validation=0.3, test=0.2), "validation", False),
        (FROM, nm.Split(on="t", test_from=300), "test", True),  # later, as data grows
        (FROM, nm.Split(on="t", test_from=100), "test", True),
        (FROM, nm.Split(on="t", test_from=99), "test", False),
        (FROM, nm.Split(on="u", test_from=300), "test", False),
        (FROM, nm.Split(on="t", test_from="2026-01-01"), "test", False),
        (FROM, nm.Split(on="t", validation_from=150, test_from=300), "validation", True),
        (FROM, THIRDS, "test", False),
        (THIRDS, nm.Split(by="unit", on="t", test=0.2, test_from=5), "test", True),
        (nm.Split(field="part"), nm.Split(field="part", test=0.1), "test", False),
    ],
)
def test_rows_are_unseen_by_their_share_or_by_their_time(own, on, part, never):
    assert unseen(own, on, part) is never

"""A state that no feed has given is told at once, whatever its numbers: nothing is read, and nothing changes."""

import pytest

import nemesyst as nm
from nemesyst.errors import FeedError
from nemesyst.feed.binding.state import position_of, state_of
from nemesyst.feed.order import Leg

pytestmark = pytest.mark.core

HUGE = 10**400
GOOD = {"version": 1, "fingerprint": "f", "plan": "p", "bounds": "b", "as_of": [5, 1], "parts": {}}


@pytest.mark.parametrize(
    "legs",
    [
        [[10**9, False, 1]], [[HUGE, False, 1]], [[1, False, HUGE]], [[1, True, -1]], [[0, False, 1]], [[-2, False, 1]],
        [[1, False, 1.5]], [[1.0, False, 1]], [[True, False, 1]], [[1, False, True]], [[1, 0, 1]], [[1, "no", 1]],
        [[1, False]], [[1, False, 1, 1]], [1, 2], "legs", None, {"a": 1}, [[1, False, 1]] * 5000,
        [[2, False, 3], [2, False, 4]], [[float("nan"), False, 1]],
    ],
)  # fmt: skip
def test_legs_that_are_none_are_told(legs):
    with pytest.raises(ValueError, match=r"leg"):
        position_of({"epoch": 0, "legs": legs})


@pytest.mark.parametrize("epoch", [-1, 1.5, True, None, "1", HUGE])
def test_an_epoch_that_is_none_is_told(epoch):
    with pytest.raises(ValueError, match="epoch="):
        position_of({"epoch": epoch, "legs": []})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"as_of": [HUGE, 1]}, "as_of=.*is not a cluster time"),
        ({"as_of": [1, -1]}, "as_of="),
        ({"as_of": "now"}, "as_of='now'"),
        ({"parts": {"nope": {}}}, "parts=.*are not parts of a feed"),
        ({"parts": []}, "parts="),
        ({"parts": {"train": 5}}, "5 does not say where a part is"),
    ],
)
def test_what_else_is_no_state_is_told(values, said):
    with pytest.raises(ValueError, match=said):
        state_of({**GOOD, **values})


def test_a_good_state_is_read():
    legs = [[2, False, 3], [2, True, 4], [2, False, 1]]
    assert state_of({**GOOD, "parts": {"all": {"epoch": 4, "legs": legs}}}).parts == {
        "all": (4, tuple(Leg(*leg) for leg in legs))
    }


@pytest.fixture
def feed(hub):
    """A feed of nine steps, three of which were made."""
    hub.put("rows", [{"i": i} for i in range(90)], key="i")
    feed = hub.feed("rows", inputs="i", batch_size=10)
    batches = iter(feed)
    for _ in range(3):
        next(batches)
    return feed


def first_batch(feed, state):
    feed.load_state_dict(state)
    return next(iter(feed))


def with_legs(feed, legs):
    return {**feed.state_dict(), "parts": {"all": {"epoch": 0, "legs": legs}}}


@pytest.mark.parametrize("legs", [[[1, False, 10**15]], [[1, True, 10]], [[2, False, 4], [1, False, 2], [3, False, 9]]])
@pytest.mark.parametrize("read", [True, False])
def test_more_steps_than_an_epoch_has_are_told(hub, feed, legs, read):
    if read:
        feed.to_numpy()  # now it is known how many there are, before anything is read again
    other, state = hub.feed(nm.Feed("rows", inputs="i", batch_size=10)), with_legs(feed, legs)
    with pytest.raises(FeedError, match=r"this is not the state of a feed: it says that .* steps, and there were"):
        first_batch(other, state)


@pytest.mark.parametrize("legs", [[[1, False, 9]], [[1, True, 9]], [[2, False, 3], [1, False, 2]], [[50, False, 1]]])
def test_legs_that_may_have_been_are_gone_on_from(hub, feed, legs):
    other = hub.feed(nm.Feed("rows", inputs="i", batch_size=10))
    other.load_state_dict(with_legs(feed, legs))
    assert sum(len(batch["x"]) for batch in other) < 90

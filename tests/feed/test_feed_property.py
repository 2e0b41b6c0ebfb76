"""Any feed is what a plain loop finds: any pipeline, split, shuffle, ranks, interruptions, with and without the cache."""

import contextlib
import json
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from bson import Timestamp
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import nemesyst as nm

sys.path.insert(0, str(Path(__file__).parent))

from pipelines import IDS, documents, late_documents, pipeline
from reference import arrays, names_of, part_of, rows_of, samples_of

pytestmark = [pytest.mark.core, pytest.mark.slow]
numbers = count()
short = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}
long = {"deadline": None, "suppress_health_check": list(HealthCheck)}
UNITS = [[1, 2, 3], [1, 1.0, 2.5, 2], ["unit1", "unit2"]]
INDEXES = [None, None, "u", "t", ("u", "t"), ("u", "t", "n"), "n"]


@st.composite
def splits(draw, *, ids=True):
    shares = draw(st.sampled_from([{}, {"test": 0.3}, {"validation": 0.2, "test": 0.2}]))
    times = draw(st.sampled_from([{}, {}, {"test_from": 25}, {"validation_from": 20, "test_from": 30}]))
    field = draw(st.sampled_from([None, None, "part"]))
    by = draw(st.sampled_from(["n", "u", "s", "a", *([None] if ids else [])])) if shares else None
    return nm.Split(by=by, on="t" if times else None, field=field, **shares, **times)


@st.composite
def cases(draw, across=False):
    """What is fed, and how."""
    random = draw(st.randoms(use_true_random=False))
    kind = draw(st.sampled_from(sorted(IDS)))
    size = draw(st.sampled_from([0, 1, 30, 64, 65, 200, 330]))
    made = documents(random, size, kind, random.choice(UNITS))
    stages = pipeline(random, [one["_id"] for one in made], across=across)
    missing = draw(st.sampled_from(["error", "drop", "nan", -1]))
    inputs = ["n", "a", *draw(st.sampled_from([[], ["i"], ["b", "t"]])), *(["gap"] if missing != "error" else [])]
    return {
        "documents": made,
        "clustered": draw(st.booleans()),
        "index": draw(st.sampled_from(INDEXES)),
        "stages": stages,
        "inputs": inputs,
        "targets": draw(st.sampled_from([(), ("b",), ("w",), ("n", "b")])),
        "missing": missing,
        "split": draw(st.one_of(st.none(), splits())),
        "batch_size": draw(st.sampled_from([1, 7, 32, 500])),
        "shuffle": draw(st.booleans()),
        "seed": draw(st.integers(0, 3)),
        "cache": draw(st.booleans()),
        "late": draw(st.sampled_from([None, None, kind])) if not across else None,
    }


walks = st.lists(st.tuples(st.integers(1, 3), st.booleans(), st.integers(1, 4)), max_size=3)


def store(hub, case):
    """The collection of a case, new; the reference's rows of it."""
    name = f"rows{next(numbers)}"
    rows = hub.db[name]
    if case["clustered"]:
        hub.db.create_collection(name, clusteredIndex={"key": {"_id": 1}, "unique": True})
    else:
        hub.db.create_collection(name)
    if case["documents"]:
        rows.insert_many(case["documents"])
    if "other" not in hub.db.list_collection_names():
        hub.db["other"].insert_many([{"k": k % 4, "v": k} for k in range(6)])
    if case["index"]:
        keys = [case["index"]] if isinstance(case["index"], str) else case["index"]
        rows.create_index([(key, 1) for key in keys])
    return name, rows_of(rows, case["stages"])


def spec_of(case, name):
    options = {key: case[key] for key in ("missing", "split", "batch_size", "shuffle", "seed", "inputs", "targets")}
    return nm.Feed(name, pipeline=case["stages"], **{**options, "targets": options["targets"] or None})


def runs(rows, case):
    """Whether the feed can be: fields that no row has are told."""
    split = case["split"]
    by_id = split is not None and split.by is None and (split.validation or split.test)
    names = [*case["inputs"], *(["_id"] if by_id else [])]
    return all(not rows or any(name in row for row in rows) for name in names) and (
        not by_id or all("_id" in row for row in rows)
    )


def expected(case, rows, part):
    if case["split"] is not None and part is not None:
        rows = [row for row in rows if part_of(case["split"], row) == part]
    return names_of(arrays(rows, case["inputs"], case["targets"], case["missing"]))


class Walk:
    """An epoch that is interrupted and resumed."""

    def __init__(self, hub, spec, part, cache, as_of, *, late):
        self.hub, self.spec, self.part, self.cache, self.as_of, self.late = hub, spec, part, cache, as_of, late
        self.state = None
        self.given = []

    def bound(self, shard, even, *, cache=None):
        feed = self.hub.feed(
            self.spec, shard=shard, even=even, cache=self.cache if cache is None else cache, as_of=self.as_of
        )
        if self.state is not None:
            feed.load_state_dict(json.loads(json.dumps(self.state)))
        if self.late:  # as if the server had no snapshot of the cutoff any more
            cutoff = feed._family.binding.cutoff
            if cutoff.way == "history":
                cutoff.give_up("history", nm.errors.DatabaseError("over"))
        return feed

    def part_of(self, feed):
        return feed if self.part is None else getattr(feed, self.part)

    def leg(self, world, even, most):
        """Each rank makes so many steps; the state of who made the most of them is the next one's."""
        best, shares = (0, self.state), []
        for rank in range(world):
            feed = self.bound((rank, world), even)
            batches, state = [], self.state
            with contextlib.closing(iter(self.part_of(feed))) as epoch:
                while len(batches) < most and (batch := next(epoch, None)) is not None:
                    batches.append(batch)
                    state = feed.state_dict()
            best = max(best, (len(batches), state), key=lambda each: each[0])
            shares.append(batches)
        self.state = best[1]
        self.given += [batch for share in shares for batch in share]

    def rest(self, world, even):
        """The last leg: whatever is left, by rank."""
        shares = [list(self.part_of(self.bound((rank, world), even))) for rank in range(world)]
        self.given += [batch for share in shares for batch in share]
        return shares


def same(one, other):
    assert len(one) == len(other)
    for first, second in zip(one, other, strict=True):
        assert first.keys() == second.keys()
        for name, values in first.items():
            assert (values.dtype, values.shape) == (second[name].dtype, second[name].shape)
            assert values.tobytes() == second[name].tobytes()


def check_arrays(batches):
    for batch in batches:
        for values in batch.values():
            assert type(values) is np.ndarray
            assert values.flags.c_contiguous
            assert values.flags.aligned
            assert values.flags.writeable
            assert values.dtype.isnative


def check(hub, case, walk, last, part):
    name, rows = store(hub, case)
    if not runs(rows, case):
        return
    event(f"rows {min(len(rows), 3)}{'+' if len(rows) > 3 else ''}")
    spec = spec_of(case, name)
    part = part if case["split"] is not None else None
    wanted = expected(case, rows, part)
    as_of = Timestamp(*hub.feed(spec).lineage()["as_of"])
    if case["late"]:
        hub.db[name].insert_many(late_documents(70, case["late"]))
    way = Walk(hub, spec, part, case["cache"], as_of, late=case["late"])
    for world, even, most in walk:
        with enough(even, wanted, world, way.state) as there:
            way.leg(world, even, most)
        if not there:
            return
    with enough(last[1], wanted, last[0], way.state) as there:
        shares = way.rest(*last)
    if not there:
        return
    found = names_of(samples_of(way.given))
    assert found == wanted, (
        len(found),
        len(wanted),
        [*(set(found) - set(wanted))][:2],
        [*(set(wanted) - set(found))][:2],
    )
    check_arrays(way.given)
    if last[1]:
        assert len({len(share) for share in shares}) == 1
    for rank in range(last[0]):  # the other way round with the cache: the same, bit for bit
        same(shares[rank], list(way.part_of(way.bound((rank, last[0]), last[1], cache=not case["cache"]))))


@contextlib.contextmanager
def enough(even, wanted, world, state):
    """Ranks that are to be even and would have nothing are refused."""
    there = []
    if even and len(wanted) < world and state is None:
        with pytest.raises(nm.errors.FeedError, match=r"for \d ranks with even"):
            yield there
        return
    there.append(True)
    yield there


parts = st.sampled_from(["train", "validation", "test", None])
lasts = st.tuples(st.integers(1, 3), st.booleans())


@settings(max_examples=14, **short)
@given(cases(), walks, lasts, parts)
def test_any_feed_yields_the_rows_of_the_reference_once(hub, case, walk, last, part):
    check(hub, case, walk, last, part)


@settings(max_examples=5, **short)
@given(cases(across=True), walks, lasts, parts)
def test_stages_across_documents_too(hub, case, walk, last, part):
    check(hub, case, walk, last, part)


@pytest.mark.soak
@settings(max_examples=1000, **long)
@given(cases(across=True), walks, lasts, parts)
def test_any_feed_yields_the_rows_of_the_reference_once_at_length(hub, case, walk, last, part):
    check(hub, case, walk, last, part)

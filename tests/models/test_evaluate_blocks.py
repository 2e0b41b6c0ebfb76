from __future__ import annotations

import numpy as np
import pytest

from nemesyst.models import metrics as m
from nemesyst.models.evaluation import spill
from nemesyst.models.evaluation.blocks import MOST, Blocks, drawn, intervals, paired
from nemesyst.models.evaluation.identity import (
    Identity,
    Ordinals,
    RowDigest,
    hashed,
    mixed,
    of_rows,
    of_targets,
    of_windows,
    ticks_of,
)

pytestmark = pytest.mark.core
SEED = "00112233445566778899aabbccddeeff"


def samples(devices=7, steps=3000):
    device = mixed(np.repeat(np.arange(devices, dtype=np.uint64), steps))
    time = np.tile(np.arange(steps) * 10_000, devices)
    return device, time, np.random.default_rng(0).random((devices * steps, 2))


def interval(metric, sums, seed, confidence):
    return intervals({"m": metric}, {("a", "m"): sums}, seed, confidence)["a", "m"]


def blocks_of(device, time, parts, portions):
    made = Blocks(parts.shape[1])
    for portion in portions:
        made.add(device[portion], time[portion], parts[portion])
    return made.finished()


def test_blocks_are_the_same_whatever_the_order_and_the_portions():
    device, time, parts = samples()
    rng = np.random.default_rng(1)
    one = blocks_of(device, time, parts, np.array_split(np.arange(len(time)), 3))
    two = blocks_of(device, time, parts, np.array_split(rng.permutation(len(time)), 40))
    assert one.shape == two.shape
    assert 50 < len(one) <= np.sqrt(len(time))
    np.testing.assert_allclose(one, two)
    np.testing.assert_allclose(one.sum(0), parts.sum(0))


@pytest.mark.parametrize(("devices", "steps"), [(1, 50), (1, 100_000), (5000, 4), (300, 300)])
def test_blocks_are_neither_many_nor_few(devices, steps):
    device, time, parts = samples(devices, steps)
    made = blocks_of(device, time, parts, np.array_split(np.arange(len(time)), 9))
    assert 12 <= len(made) <= MOST
    np.testing.assert_allclose(made.sum(0), parts.sum(0))


def test_draws_are_the_same_for_all_who_ask():
    assert (drawn(20, SEED) == drawn(20, SEED)).all()
    assert (drawn(20, SEED).sum(axis=1) == 20).all()


def test_the_interval_holds_the_truth_as_often_as_it_says_although_neighbours_are_alike():
    rng, inside, naive = np.random.default_rng(3), 0, 0
    for _ in range(120):
        noise = rng.normal(size=4000)
        for i in range(1, 4000):
            noise[i] += 0.9 * noise[i - 1]
        error = 1 + noise * 0.1
        parts = np.stack([error, np.ones(4000)], axis=1)
        made = blocks_of(np.zeros(4000, np.uint64), np.arange(4000), parts, [slice(None)])
        low, high = interval(m.mae, made, SEED, 0.95)
        inside += low <= 1 <= high
        spread = 1.96 * error.std() / np.sqrt(4000)
        naive += abs(error.mean() - 1) <= spread
    assert inside >= 100  # 114 is 95 %
    assert naive <= 70  # each sample for one draw: far too narrow


def test_a_paired_interval_is_narrower_than_the_difference_of_two():
    device, time, parts = samples()
    better = parts - [0.01, 0]
    parts[:, 1] = better[:, 1] = 1
    one, two = (blocks_of(device, time, each, [slice(None)]) for each in (better, parts))
    low, high = paired(m.mae, one, two, SEED, 0.95)
    assert (low, high) == pytest.approx((-0.01, -0.01))
    ends = interval(m.mae, one, SEED, 0.95)
    assert ends[1] - ends[0] > 0.003


def test_what_is_no_number_has_no_interval():
    assert np.isnan(interval(m.mae, np.full((30, 2), np.nan), SEED, 0.95)).all()
    assert np.isnan(paired(m.mae, np.ones((30, 2)), np.full((30, 2), np.nan), SEED, 0.95)).all()


def test_the_digest_of_rows_does_not_depend_on_their_order():
    keys = mixed(np.arange(1000, dtype=np.uint64))
    digests = set()
    for order in (slice(None), slice(None, None, -1)):
        digest = RowDigest()
        for portion in np.array_split(keys[order], 3):
            digest.add(portion)
        digests.add(digest.hexdigest())
    other = RowDigest()
    other.add(keys[1:])
    assert len(digests) == 1
    assert other.hexdigest() not in digests


def test_a_window_is_the_same_however_its_device_and_time_are_typed():
    devices, times = np.array([1, 2, 2]), np.array([10, 20, 30])
    one = of_windows(devices, times)
    assert (one.key == of_windows(devices.astype(float), times.astype(float)).key).all()
    assert len(set(one.key.tolist())) == 3
    assert (of_windows(np.array(["a", "b"]), times[:2]).key != of_windows(np.array(["b", "a"]), times[:2]).key).all()


def test_times_keep_their_order_as_whole_numbers():
    times = np.array([-3.5, -1.25, 0.5, 2.75, 1e9])
    assert (np.diff(ticks_of(times)) > 0).all()
    dates = np.array(["2026-01-01", "2026-01-02"], "datetime64[ms]")
    assert np.diff(ticks_of(dates)).tolist() == [86_400_000]


def test_rows_are_told_apart_by_ids_of_every_kind():
    from datetime import UTC, datetime
    from uuid import uuid4

    from bson import ObjectId

    kinds = [
        [ObjectId() for _ in range(5)],
        list(range(5)),
        ["a", "b", "c", "d", "e"],
        [{"unit": u, "t": t} for u, t in ((1, 1), (1, 2), (2, 1), (2, 2), (3, 1))],
        [{"unit": "a", "day": "x"}, {"unit": "a", "day": "y"}],
        [uuid4() for _ in range(5)],
        [datetime(2026, 1, n + 1, tzinfo=UTC) for n in range(5)],
        [1, "a", None, 2.5],
        [2**70, 3],
    ]
    for ids in kinds:
        found = of_rows(ids)
        assert len(set(found.key.tolist())) == len(ids), ids
        assert (found.key == of_rows(list(ids)).key).all()
    keyed = of_rows(kinds[3])
    assert len(set(keyed.device.tolist())) == 3
    assert keyed.time.tolist() == [1, 2, 1, 2, 1]


def test_rows_of_one_document_are_counted_over_batches():
    keys = mixed(np.array([1, 1, 2, 3, 3, 3, 4], np.uint64))
    none = np.zeros(7, np.int64)

    def told(portions):
        ordinals = Ordinals()
        return np.concatenate([ordinals.apart(Identity(keys[p], keys[p], none[p])).key for p in portions]).tolist()

    whole = told([slice(None)])
    assert len(set(whole)) == 7
    assert whole == told([slice(0, 1), slice(1, 4), slice(4, 5), slice(5, 7)])


def test_targets_are_the_same_by_their_bytes():
    y = np.array([[1.0, 2.0], [1.0, -0.0], [1.0, 0.0], [2.0, 1.0]], np.float32)
    found = of_targets(y).tolist()
    assert found[1] == found[2]
    assert len(set(found)) == 3
    assert hashed(np.array([3])).tolist() == hashed(np.array([3.0])).tolist()


@pytest.mark.parametrize("at_once", [10, 1 << 19])
def test_common_samples_are_those_of_all_groups(monkeypatch, at_once):
    monkeypatch.setattr(spill, "_AT_ONCE", at_once)
    rng = np.random.default_rng(0)
    keys = mixed(np.arange(300, dtype=np.uint64))
    groups, held = [], []
    for _ in range(3):
        chosen = rng.permutation(300)[:200]
        group = spill.Spilled()
        for portion in np.array_split(chosen, 4):
            who = Identity(keys[portion], keys[portion] % np.uint64(5), portion)
            group.add(who, portion[:, None].astype(float))
        groups.append(group)
        held.append(set(chosen.tolist()))
    found = [(who, parts) for who, parts, _ in spill.common(groups)]
    numbers = np.concatenate([parts for _, parts in found])
    assert set(numbers[:, 0].tolist()) == held[0] & held[1] & held[2]
    assert (numbers == numbers[:, :1]).all()
    assert len(numbers) == len(held[0] & held[1] & held[2])
    assert (len(found) > 1) == (at_once == 10)

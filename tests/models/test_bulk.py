"""Many models in one call."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import SettingsError


def site(n):
    return {"w": np.full(3, n)}


def test_many_models_get_their_next_numbers_in_order(models):
    models.save(site(0), "air[b]")
    versions = models.save_many([("air[a]", site(1)), ("air[b]", site(2)), ("air[a]", site(3))], metrics={"mae": 0.5})
    assert [version.ref for version in versions] == ["air[a]@1", "air[b]@2", "air[a]@2"]
    assert [models.load(version.ref)["w"][0] for version in versions] == [1, 2, 3]
    assert versions == [models.get(version.ref) for version in versions]


def test_each_may_have_a_record_of_its_own(models):
    own = nm.Saving(site(1), "air[a]", metrics={"mae": 0.1}, tags={"kind": "own"})
    first, second = models.save_many([own, ("air[b]", site(2))], metrics={"mae": 0.5}, text="all of them")
    assert (first.metrics, first.tags, first.text) == ({"mae": 0.1}, {"kind": "own"}, "all of them")
    assert (second.metrics, second.tags) == ({"mae": 0.5}, {})


def test_large_models_are_stored_too(models):
    large = np.random.default_rng(0).standard_normal(100_000)
    versions = models.save_many([("air[a]", {"w": large}), ("air[b]", {"w": large + 1})])
    assert [models.load(version.ref)["w"][0] - large[0] for version in versions] == [0, pytest.approx(1)]


def test_nothing_is_stored_of_a_list_with_one_that_cannot_be(models, state):
    with pytest.raises(SettingsError, match=r"save model air\[b\]: metrics\['mae'\] is 'low'"):
        models.save_many([("air[a]", site(1)), nm.Saving(site(2), "air[b]", metrics={"mae": "low"})])
    assert state.list_collection_names() == []


def test_a_generator_is_stored_as_it_comes(models):
    assert len(models.save_many((f"air[{n}]", site(n)) for n in range(450))) == 450
    assert models.load("air[449]")["w"][0] == 449


@pytest.mark.parametrize(
    ("given", "text"), [([3], "a int is no model to save"), ([("air",)], "a tuple is no model to save")]
)
def test_what_is_no_model_is_named(models, given, text):
    with pytest.raises(SettingsError, match=text):
        models.save_many(given)


def test_an_unknown_argument_is_named_with_the_nearest(models):
    with pytest.raises(SettingsError, match=r"(?s)save_many\(metric=.*did you mean metrics"):
        models.save_many([], metric={})


def test_numbers_are_right_beside_other_savers(models):
    def one_by_one():
        for n in range(10):
            models.save(site(n), f"air[{n}]")

    def together():
        for _ in range(5):
            models.save_many([(f"air[{n}]", site(n)) for n in range(10)])

    threads = [threading.Thread(target=work) for work in (one_by_one, together, one_by_one, together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(10):
        assert [version.number for version in models.list(f"air[{n}]")] == list(range(1, 13))


def test_versions_of_one_name_are_numbered_in_order_through_all_batches(models):
    versions = models.save_many(("air", site(n)) for n in range(700))
    assert [version.number for version in versions] == list(range(1, 701))
    assert models.load("air@451")["w"][0] == 450

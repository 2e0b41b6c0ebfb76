from __future__ import annotations

import pytest

from nemesyst.errors import SettingsError, UnknownModelError


@pytest.fixture
def three(models, weights):
    """A registry with three versions of air."""
    for _ in range(3):
        models.save(weights, "air")
    return models


def moves(models):
    return [(move.kind, move.source, move.target) for move in models.history("air@champion")]


def test_an_alias_means_what_was_promoted_last(three):
    assert three.promote("air@1", "champion").ref == "air@1"
    assert three.promote("air@latest", "champion").aliases == ("champion",)
    assert three.get("air@champion").number == 3


def test_a_version_may_have_several_aliases(three):
    three.promote("air@2", "champion")
    assert three.promote("air@champion", "backup").aliases == ("backup", "champion")
    assert [version.aliases for version in three.list("air")] == [(), ("backup", "champion"), ()]


def test_rollback_goes_further_back_each_time(three):
    for number in (1, 3, 2):
        three.promote(f"air@{number}", "champion")
    assert [three.rollback("air@champion").number for _ in range(2)] == [3, 1]


def test_after_a_rollback_a_promotion_starts_from_there(three):
    for number in (1, 2):
        three.promote(f"air@{number}", "champion")
    three.rollback("air@champion")
    three.promote("air@3", "champion")
    assert three.rollback("air@champion").number == 1
    assert moves(three) == [
        ("promote", None, 1), ("promote", 1, 2), ("rollback", 2, 1), ("promote", 1, 3), ("rollback", 3, 1),
    ]  # fmt: skip


def test_at_the_bottom_a_rollback_says_so_and_changes_nothing(three):
    three.promote("air@2", "champion")
    with pytest.raises(UnknownModelError, match="air@champion means version 2 and meant nothing before"):
        three.rollback("air@champion")
    assert three.get("air@champion").number == 2


def test_what_it_meant_before_may_have_been_deleted(three):
    for number in (1, 2):
        three.promote(f"air@{number}", "champion")
    three.delete("air@1")
    with pytest.raises(UnknownModelError, match="air@champion means version 2 and what it meant before was deleted"):
        three.rollback("air@champion")
    assert three.get("air@champion").number == 2


def test_promoting_what_it_is_already_is_no_move(three):
    three.promote("air@2", "champion")
    three.promote("air@2", "champion")
    assert moves(three) == [("promote", None, 2)]


def test_history_says_who_when_and_why(three):
    three.promote("air@1", "champion", why="first good one")
    three.promote("air@2", "champion")
    three.rollback("air@champion", why="drifted")
    history = three.history("air@champion")
    assert [move.number for move in history] == [1, 2, 3]
    assert [move.why for move in history] == ["first good one", None, "drifted"]
    assert all("@" in move.who for move in history)
    assert history[0].when <= history[1].when <= history[2].when


def test_aliases_of_entities_are_apart(models, weights):
    for name in ("air[a]", "air[b]", "air[b]"):
        models.save(weights, name)
    models.promote("air[a]@1", "champion")
    models.promote("air[b]@2", "champion")
    assert [models.get(f"air[{entity}]@champion").number for entity in "ab"] == [1, 2]


@pytest.mark.parametrize("alias", ["latest", "3", ""])
def test_an_alias_that_would_read_as_something_else_is_refused(three, alias):
    with pytest.raises(SettingsError, match="alias"):
        three.promote("air@1", alias)


def test_what_is_not_there_cannot_be_promoted(three):
    with pytest.raises(UnknownModelError, match="air has no version 7; newest: 3, 2, 1"):
        three.promote("air@7", "champion")


def test_an_alias_that_was_never_set_cannot_be_rolled_back(three):
    with pytest.raises(UnknownModelError, match="air has no alias 'champion'"):
        three.rollback("air@champion")


@pytest.mark.parametrize("ref", ["air", "air@3"])
def test_only_an_alias_can_be_rolled_back(three, ref):
    with pytest.raises(SettingsError, match="names no alias"):
        three.rollback(ref)

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemesyst.errors import SettingsError
from nemesyst.models import Reference
from nemesyst.models.reference import check_alias

pytestmark = pytest.mark.core

ALNUM = string.ascii_letters + string.digits
NAMES = st.builds(str.__add__, st.sampled_from(ALNUM), st.text(ALNUM + "._-/", max_size=20))
ENTITIES = st.none() | st.text(
    st.characters(exclude_categories=["C"], exclude_characters="[]"), min_size=1, max_size=20
)
ALIASES = st.builds(str.__add__, st.sampled_from(string.ascii_letters), st.text(ALNUM + "._-", max_size=10))


@given(NAMES, ENTITIES, st.integers(1, 10**9 - 1) | ALIASES)
def test_a_reference_survives_being_written_and_read(name, entity, selector):
    reference = Reference(name, entity, selector)
    assert Reference.parse(str(reference)) == reference


@given(st.text(max_size=30))
def test_any_text_is_a_reference_or_a_clear_error(text):
    try:
        reference = Reference.parse(text)
    except SettingsError:
        return
    assert Reference.parse(str(reference)) == reference


def test_a_bare_name_means_the_latest():
    assert Reference.parse("air") == Reference("air", None, "latest")


def test_a_reference_with_everything():
    assert Reference.parse("plant/air[site 12]@champion") == Reference("plant/air", "site 12", "champion")


@pytest.mark.parametrize(
    "text", ["", "air@", "air@0", "air@-1", "air@3x", "air[]", "air[a", "a b", "air\n", "@3", "air@3@4"]
)
def test_what_is_no_reference_is_refused_with_the_grammar(text):
    with pytest.raises(SettingsError, match="model reference"):
        Reference.parse(text)


def test_a_name_to_save_under_selects_no_version():
    with pytest.raises(SettingsError, match="gets its own number"):
        Reference.parse_target("air@latest")


@pytest.mark.parametrize("alias", ["latest", "12", "", "a b", None])
def test_what_cannot_be_an_alias_is_refused(alias):
    with pytest.raises(SettingsError, match="alias"):
        check_alias(alias)

"""Arguments of stage functions: typed by the signature, taken from the settings."""

import pytest

import nemesyst as nm
from nemesyst.errors import ScriptError, SettingsError
from nemesyst.stages import check_known, stage_of
from nemesyst.stages.arguments import arguments_of

pytestmark = pytest.mark.core


@nm.wrangler(into="c")
def clean(_run, hidden: int = 64, *, rate: float = 0.1, layers: list[int] = (1, 2), fast=False):
    """A stage with arguments."""


STAGE = stage_of(clean)


def test_defaults_stand_when_nothing_is_given():
    assert arguments_of(STAGE, {}) == {"hidden": 64, "rate": 0.1, "layers": (1, 2), "fast": False}


def test_text_becomes_what_the_signature_says():
    given = {"hidden": "32", "rate": "1e-3", "layers": "[4, 5]", "fast": "true"}
    assert arguments_of(STAGE, given) == {"hidden": 32, "rate": 1e-3, "layers": [4, 5], "fast": True}


def test_a_value_under_the_functions_name_comes_first():
    assert arguments_of(STAGE, {"hidden": 1, "clean": {"hidden": 2}})["hidden"] == 2


@pytest.mark.parametrize("given", [{"hidden": "many"}, {"rate": [1]}, {"layers": "[1, 'x']"}, {"fast": "perhaps"}])
def test_a_value_of_the_wrong_type_is_told_with_function_and_name(given):
    with pytest.raises(SettingsError, match=f"clean: argument {next(iter(given))}="):
        arguments_of(STAGE, given)


def test_a_required_argument_without_a_value_is_told():
    @nm.wrangler(into="c")
    def needs(_run, folder: str):
        """A required argument."""

    with pytest.raises(SettingsError, match=r"needs: argument folder has no value(.|\n)*--arg folder=VALUE"):
        arguments_of(stage_of(needs), {})


def test_a_function_that_does_not_take_run_is_told():
    @nm.predictor("m", into="p")
    def infer(_run):
        """A batch is missing."""

    with pytest.raises(ScriptError, match="must take run and batch"):
        arguments_of(stage_of(infer), {})


def test_an_argument_that_no_function_takes_is_told_with_the_nearest():
    with pytest.raises(SettingsError, match=r"--arg hiden(.|\n)*did you mean hidden"):
        check_known(["hiden"], [clean])
    check_known(["hidden", "clean.rate"], [clean])

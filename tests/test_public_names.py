"""The public surface is what ``__all__`` says, documented and without strangers."""

import inspect

import pytest

import nemesyst as nm
from nemesyst import errors

pytestmark = pytest.mark.core

NAMES = {
    "AsOf", "Batch", "Best", "BoundFeed", "Feed", "Hub", "Metric", "Models", "NemesystError", "PutReport", "Run", "Saving",
    "Split", "Trained", "Version", "Window",
    "accuracy", "architecture", "connect", "f1", "fleet", "learner", "log_loss", "macro_f1", "mae", "mape", "mse", "pinball",
    "predictor", "r2", "rmse", "trial", "unpack", "wrangler",
}  # fmt: skip


def test_the_public_names_are_these():
    assert set(nm.__all__) == NAMES


def test_nothing_else_looks_public():
    strangers = {name for name, value in vars(nm).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert strangers == NAMES


@pytest.mark.parametrize("name", sorted(NAMES - {"Batch"}))
def test_every_public_name_is_documented(name):
    thing = getattr(nm, name)
    assert thing.__doc__
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        if callable(value) and not member.startswith("_"):
            assert value.__doc__, f"{name}.{member}"


def test_every_error_is_one_tree_drawn_in_its_docstring():
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, Exception)]
    for kind in kinds:
        assert issubclass(kind, nm.NemesystError)
        assert kind.__name__ in errors.__doc__


def test_an_error_shows_its_remedy_on_a_line_of_its_own():
    assert str(nm.NemesystError("it is so", "Do this.")) == "it is so\n  Do this."

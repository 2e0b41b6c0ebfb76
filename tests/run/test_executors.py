"""The executors: each through the conformance suite; and how they are found by name."""

from importlib.util import find_spec

import pytest

from nemesyst.checks import CheckError, check_executor
from nemesyst.errors import SettingsError
from nemesyst.run import Executor, LocalExecutor, executor_named

NEEDS_RAY = pytest.mark.skipif(find_spec("ray") is None, reason="needs the ray extra")

THEIRS = """
from nemesyst.run import LocalExecutor

def make(settings, processes):
    return LocalExecutor(settings, processes)

def wrong(settings, processes):
    return {"processes": processes}

def broken(settings, processes):
    raise ValueError("no queue")
"""


class Crowded(LocalExecutor):
    """Finds room for whatever comes."""

    def fits(self, job, running):
        return True


@pytest.mark.slow
@pytest.mark.parametrize("name", ["local", pytest.param("ray", marks=NEEDS_RAY)])
def test_the_executor_conforms(hub, name):
    assert len(check_executor(lambda *given: executor_named(name, *given), hub)) == 13


@pytest.mark.slow
def test_the_suite_names_the_check_that_an_executor_fails(hub):
    with pytest.raises(CheckError, match="executor Crowded: fits what there is room for: a job fits beside 1000"):
        check_executor(Crowded, hub)


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Another package that is installed, and brings executors."""
    (tmp_path / "queues_of_theirs.py").write_text(THEIRS)
    about = tmp_path / "queues-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: queues\nVersion: 1.0\n")
    names = "".join(f"{name} = queues_of_theirs:{name}\n" for name in ("make", "wrong", "broken", "missing"))
    (about / "entry_points.txt").write_text(f"[nemesyst.executors]\n{names}")
    monkeypatch.syspath_prepend(tmp_path)


def test_another_package_brings_an_executor(theirs):
    with executor_named("make", {}, 3) as executor:
        assert isinstance(executor, Executor)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("wrong", "made a dict, which is no executor"),
        ("broken", "cannot be loaded: ValueError: no queue"),
        ("missing", "cannot be loaded: AttributeError"),
        ("mak", "there is no executor 'mak'\n  did you mean make"),
    ],
)
def test_an_executor_that_cannot_be_had_is_told(theirs, name, told):
    with pytest.raises(SettingsError) as error:
        executor_named(name, {}, 3)
    assert told in str(error.value)

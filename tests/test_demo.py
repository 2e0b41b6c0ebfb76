"""The demo, as ``make demo`` runs it: twice, at once, interrupted, killed, and on MNIST."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the demo trains a PyTorch network")
pytest.importorskip("sklearn", reason="the demo's digits come with scikit-learn")
pytest.importorskip("matplotlib", reason="the demo saves a picture")

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).parent / "nemesyst"
RUN = [str(COMMAND), "run", str(ROOT / "examples" / "digits.py")]
REPORT = [sys.executable, str(ROOT / "examples" / "digits_report.py")]
MNIST = Path(os.environ.get("NEMESYST_DATA", "nowhere"))

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder, and no data of MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEMESYST_DATA", raising=False)
    return tmp_path


def done(command):
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def accuracy(report):
    return float(re.search(r"accuracy on the test part: ([\d.]+) %?", report.replace("%", " %")).group(1))


def versions():
    """References of the stored versions; each is loaded, so that its checksum is compared."""
    listed = json.loads(done([str(COMMAND), "models", "list", "--json"]))
    load = "import sys, nemesyst as nm; sys.path.insert(0, {!r}); import digits\nwith nm.connect() as hub:\n"
    load = load.format(str(ROOT / "examples"))
    load += "    for v in hub.models.list(): hub.models.load(v.ref, build=digits.make_net)\n"
    done([sys.executable, "-c", load])
    return [version["ref"] for version in listed]


def test_the_demo_reaches_97_percent_and_tells_where_the_model_came_from(folder):
    told = done(RUN)
    assert "saved digits-cnn@1, promoted to champion" in told
    report = done(REPORT)
    assert accuracy(report) >= 97
    assert "confusion matrix" in report
    assert re.search(r"rows +train [\d,]+, validation", report)
    assert re.search(r"arguments +epochs=20", report)
    assert (folder / "demo.png").stat().st_size > 10_000


def test_a_second_demo_changes_no_row_and_makes_a_second_version(folder):
    done([*RUN, "--arg", "epochs=2"])
    again = json.loads(done([*RUN, "--arg", "epochs=2", "--json"]))
    assert again[0]["details"]["unchanged"] == 1797
    assert again[1]["details"]["versions"][0]["ref"] == "digits-cnn@2"
    assert again[2]["details"]["model"] == "digits-cnn@2"


def test_two_demos_at_once_both_end_well(folder):
    short = [*RUN, "--arg", "epochs=6"]
    both = [subprocess.Popen(short, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert versions() == ["digits-cnn@1", "digits-cnn@2"]
    assert accuracy(done(REPORT)) >= 90


def test_interrupted_the_demo_says_so_and_ends_with_130(folder):
    process = subprocess.Popen(RUN, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    next(line for line in process.stdout if "epoch 2/20" in line)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors


def long(moment):
    """A moment that only the long runs try; the others stand for it."""
    return pytest.param(moment, marks=pytest.mark.soak)


@pytest.mark.parametrize(
    "moment",
    ["wrangle: 1,797", *map(long, ["learn: saved", None, "wrangle: started", "epoch 3/20", "infer: started"])],
)
def test_killed_at_any_moment_the_next_demo_succeeds_and_shows_whole_versions_only(folder, moment):
    process = subprocess.Popen(RUN, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    if moment is not None:
        next(line for line in process.stdout if moment in line)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done([*RUN, "--arg", "epochs=2"])
    found = versions()
    assert found == [f"digits-cnn@{number + 1}" for number in range(len(found))]


@pytest.mark.soak
@pytest.mark.skipif(
    not (MNIST / "mnist" / "mnist.npz").exists(), reason="MNIST is not in the folder that NEMESYST_DATA names"
)
def test_on_mnist_the_demo_reaches_98_5_percent(folder, monkeypatch):
    monkeypatch.setenv("NEMESYST_DATA", str(MNIST))
    told = done(RUN)
    assert "70,000 rows stored in mnist" in told
    assert "10,000 predictions by mnist-cnn@1" in told
    assert accuracy(done([*REPORT, "--name", "mnist"])) >= 98.5

"""``model.fit`` with the callback of a run, on each backend."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from nemesyst.errors import ScriptError
from nemesyst.stages import Run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("keras")]

PROGRAM = Path(__file__).with_name("keras_callback_program.py")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_it_logs_validates_resumes_and_stops_early(hub, home, names, keras_hosts, backend):
    for module in ("keras", backend):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the {module} extra")
    told = json.loads(keras_hosts.run(backend, PROGRAM, home, names["database"], names["state"]))
    whole, resumed, stopped, again = (told[name] for name in ("whole", "resumed", "stopped", "again"))
    steps = whole["logged"][0][1]
    assert whole["logged"][:4] == [
        [["loss/train"], steps], [["lr", "val/mae"], steps], [["loss/train"], 2 * steps], [["lr", "val/mae"], 2 * steps],
    ]  # fmt: skip
    assert whole["mae"] == pytest.approx(whole["best"])
    assert resumed["epochs"] == [2, 3]
    assert resumed["weights"] == whole["weights"]
    assert len(stopped["epochs"]) < 30
    assert stopped["mae"] == pytest.approx(stopped["best"])
    assert again["epochs"] == []
    assert again["weights"] == stopped["weights"]


def test_a_mistake_is_named():
    with pytest.raises(ScriptError, match="patience without metrics"):
        Run(None).keras_callback(patience=3)
    with pytest.raises(ScriptError, match="checkpoint_every=0"):
        Run(None).keras_callback(checkpoint_every=0)

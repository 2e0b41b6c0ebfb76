"""Whole rounds with processes: entities, grids and the best of them; jobs that fail, hang and are killed."""

import pytest

from nemesyst.run import LocalExecutor, Planner, run_rounds, tasks_of
from nemesyst.stages import load_script

pytestmark = [pytest.mark.core, pytest.mark.slow]

HEAD = "import os, signal, time\nimport numpy as np\nimport nemesyst as nm\n"
BAD = """
@nm.wrangler(into="rows")
def fails(run):
    yield {"by": "fails"}
    raise ValueError("broken sensor")

@nm.wrangler(into="rows")
def hangs(run):
    yield {"by": "hangs"}
    while True:
        time.sleep(0.01)

@nm.wrangler(into="rows")
def killed(run):
    yield {"by": "killed"}
    os.kill(os.getpid(), signal.SIGKILL)

@nm.wrangler(into="rows")
def good(run):
    yield {"by": "good"}
"""
AIR = """
@nm.learner(nm.Feed("rows", inputs="t", targets="air"), model="air", entities="site", grid={"shift": [0.0, 1.0]}, best="mae")
def learn(run, shift: float = 0.0):
    if run.entity == "bad":
        raise ValueError("no such fridge")
    mean = run.feed.to_numpy()["y"].mean() + shift
    return nm.Trained({"mean": np.array([mean])}, metrics={"mae": shift})
"""


@pytest.fixture
def run_script(hub, tmp_path):
    """Run a script's jobs on this test's databases, each with the options of its name."""

    def run(text, **options):
        path = tmp_path / "job.py"
        path.write_text(HEAD + text)
        tasks = [task.having(**options.get(task.job.name, {})) for task in tasks_of([load_script(path)])]
        planner = Planner(hub, tasks)
        with LocalExecutor(hub.settings.reveal(), 2) as executor:
            return {str(r.job): r for r in run_rounds([t.job for t in tasks], executor, expander=planner)}

    return run


def test_a_round_with_a_failing_a_hanging_a_killed_and_a_succeeding_job(run_script):
    reports = run_script(BAD, hangs={"timeout": 3.0}, killed={"retries": 1})
    said = {name.split()[1]: report.error and report.error.message for name, report in reports.items()}
    assert "job.py:8 in fails: ValueError: broken sensor" in said["fails"]
    assert "took longer than 3 s and was ended" in said["hangs"]
    assert "was killed by SIGKILL" in said["killed"]
    assert said["good"] is None
    assert {name.split()[1]: report.attempts for name, report in reports.items()} == {
        "fails": 1, "hangs": 1, "killed": 2, "good": 1,
    }  # fmt: skip
    assert reports["wrangle good"].memory > 1 << 20
    assert reports["wrangle good"].seconds > 0


def test_each_entity_gets_the_best_of_its_grid_and_a_failing_one_stops_no_other(run_script, hub):
    hub.put("rows", [{"t": i, "air": float(i % 3), "site": ["a", "b", "bad"][i % 3]} for i in range(300)], key="t")
    reports = run_script(AIR)
    assert [name for name, report in reports.items() if report.error] == [
        "learn [bad] shift=0.0",
        "learn [bad] shift=1.0",
    ]
    for site, mean in (("a", 0.0), ("b", 1.0)):
        champion = hub.models.get(f"air[{site}]@champion")
        assert champion.args == {"shift": 0.0}
        assert hub.models.load(champion.ref)["mean"] == mean
    assert "promoted as the first champion" in reports["learn [a] best"].outcome.summary

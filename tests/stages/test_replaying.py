"""Training a version again from its rows and its code."""

import random
import shutil
import subprocess
import textwrap

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.stages import JobContext, load_script, work

TORCH = """
    import torch

    import nemesyst as nm

    FEED = nm.Feed("points", inputs="x", targets="y", split=nm.Split(test=0.3), batch_size=16, shuffle=True, scale="standard")


    def make_net(hidden: int = 4):
        return torch.nn.Sequential(torch.nn.Linear(1, hidden), torch.nn.Tanh(), torch.nn.Dropout(0.1), torch.nn.Linear(hidden, 1))


    @nm.learner(FEED, model="curve", promote="champion", build=make_net, parent="@champion")
    def learn(run, hidden: int = 4, epochs: int = 2):
        net = make_net(hidden)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
        if run.parent is not None:
            run.hub.models.load(run.parent.ref, into=net, optimizer=optimizer)
        net.train()
        for _ in run.epochs(epochs):
            for batch in run.feed.train.to_torch():
                loss = torch.nn.functional.mse_loss(net(batch["x"]), batch["y"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                run.log({"loss": loss.detach()})
        yield nm.Trained(net, metrics={"loss": loss.item()}, optimizer=optimizer)
"""
FOREST = """
    from sklearn.ensemble import RandomForestRegressor

    import nemesyst as nm

    @nm.learner(nm.Feed("points", inputs="x", targets="y"), model="forest")
    def learn(run, trees: int = 5):
        rows = run.feed.to_numpy()
        return nm.Trained(RandomForestRegressor(trees, random_state=run.seed).fit(rows["x"], rows["y"][:, 0]))
"""
PLAIN = """
    import numpy as np

    import nemesyst as nm

    @nm.learner(nm.Feed("points", inputs="x", targets="y"), model="slope")
    def learn(run, noise: float = 0.0):
        rows = run.feed.to_numpy()
        slope = float((rows["x"] * rows["y"]).sum() / (rows["x"] ** 2).sum()) + noise
        return nm.Trained({"slope": np.array([slope])})
"""


@pytest.fixture
def points(hub):
    hub.put("points", [{"i": i, "x": i / 100, "y": 3 * i / 100} for i in range(500)], key="i")
    return hub


@pytest.fixture
def script(tmp_path):
    """Write a script; its path."""

    def write(text, name="line.py"):
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


def trained(hub, path, **arguments):
    """Run the script's learner; the reference of what it made."""
    outcome = work(hub, load_script(path).stage("learn"), arguments, JobContext(path))
    return outcome.details["versions"][-1]["ref"]


def test_pytorch_gives_the_same_bits(points, script):
    ref = trained(points, script(TORCH), hidden=6)
    found = points.models.replay(ref)
    assert found.identical
    assert found.same
    assert found.differences == ()
    assert str(found) == f"{ref}: the same weights, bit for bit"


def test_training_that_went_on_from_a_parent_does_too(points, script):
    path = script(TORCH)
    first, second = trained(points, path), trained(points, path)
    record = points.models.get(second)
    assert record.parent == first
    assert record.feed["prepared"] == points.models.get(first).feed["prepared"]
    assert points.models.replay(second).identical


def test_scikit_learn_gives_the_same_bits(points, script):
    assert points.models.replay(trained(points, script(FOREST))).identical


def test_rows_that_came_later_do_not_matter(points, script):
    ref = trained(points, script(PLAIN))
    points.put("points", [{"i": i, "x": 1.0, "y": 50.0} for i in range(1000, 1100)], key="i")
    assert points.models.replay(ref).identical


def test_arguments_are_those_of_the_record(points, script):
    path = script(PLAIN)
    assert points.models.replay(trained(points, path, noise=0.25)).identical


def test_other_code_is_refused_and_named(points, script):
    path = script(PLAIN)
    ref = trained(points, path)
    script(PLAIN.replace("+ noise", "- noise + 1"))
    with pytest.raises(nm.NemesystError, match=r"slope@1 cannot be replayed: the code of learn has changed"):
        points.models.replay(ref)


def test_trained_anyway_the_difference_is_measured(points, script):
    ref = trained(points, script(PLAIN))
    script(PLAIN.replace("+ noise", "+ noise + 3"))
    found = points.models.replay(ref, anyway=True)
    assert not found.same
    assert np.isclose(found.difference, 1)
    assert "other weights" in str(found)
    assert any("code of learn" in line for line in found.differences)


def test_another_feed_is_refused_and_named(points, script):
    path = script(PLAIN)
    ref = trained(points, path)
    script(PLAIN.replace('targets="y"', 'targets="y", batch_size=7'))
    with pytest.raises(nm.NemesystError, match="the feed has changed"):
        points.models.replay(ref)


def test_a_version_that_was_saved_by_hand_cannot_be_replayed(points):
    points.models.save({"a": np.ones(2)}, "hand")
    with pytest.raises(nm.NemesystError, match="hand@1 was not trained by a learner"):
        points.models.replay("hand")


def test_a_script_without_the_learner_is_told(points, script):
    ref = trained(points, script(PLAIN))
    other = script(PLAIN.replace("def learn", "def train"), "other.py")
    with pytest.raises(nm.NemesystError, match="has no learner learn, which trained slope@1"):
        points.models.replay(ref, script=other)


def test_a_failing_learner_is_told_with_its_line(points, script):
    ref = trained(points, script(PLAIN))
    script(PLAIN.replace("slope = float", "slope = 1 / 0 + float"))
    with pytest.raises(nm.NemesystError, match=r"line.py:\d+ in learn: ZeroDivisionError"):
        points.models.replay(ref, anyway=True)


def test_the_record_says_where_the_code_came_from(points, script, tmp_path):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    path = script(PLAIN)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "line.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert points.models.get(trained(points, path)).learner["git"] == {"commit": commit, "dirty": False}
    path.write_text(path.read_text() + "# more\n")
    assert points.models.get(trained(points, path)).learner["git"] == {"commit": commit, "dirty": True}


def test_what_was_logged_is_kept_as_curves(points, script):
    ref = trained(points, script(TORCH), epochs=3)
    curve = points.models.curves(ref)["loss"]
    steps = -(-points.models.get(ref).rows["train"] // 16) * 3
    assert sum(point[4] for point in curve) == steps


def test_lineage_is_a_tree_back_to_the_collections(points, script):
    path = script(TORCH)
    trained(points, path)
    told = str(points.models.lineage(trained(points, path)))
    assert "collection" in told
    assert f"{points.db.name}.points" in told
    assert "parent curve@1" in told


def test_a_learner_may_be_given_the_newest_rows_alone(points, script):
    points.put("readings", [{"i": i, "x": i / 100, "y": 3 * i / 100, "t": i} for i in range(500)], key="i")
    feed = 'nm.Feed("readings", inputs="x", targets="y", split=nm.Split(by="i", test=0.3))'
    path = script(
        PLAIN.replace('nm.Feed("points", inputs="x", targets="y")', feed)
        .replace('model="slope"', 'model="slope", since=(99, "t")')
        .replace("run.feed.to_numpy()", "run.feed.train.to_numpy()")
    )
    version = points.models.get(trained(points, path))
    assert 50 < version.rows["train"] < 100
    assert version.lineage["rows"]["train"] == version.rows["train"]
    assert points.models.replay(version.ref).identical


@pytest.fixture
def threads():
    """PyTorch's number of threads, put back afterwards."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield torch
    torch.set_num_threads(before)


def test_a_replay_uses_as_many_threads_as_the_training_and_puts_its_own_back(points, script, threads):
    threads.set_num_threads(1)
    version = points.models.get(trained(points, script(TORCH)))
    assert version.environment["threads"] == 1
    threads.set_num_threads(2)
    found = points.models.replay(version.ref)
    assert found.identical
    assert not [line for line in found.differences if line.startswith("threads")]
    assert threads.get_num_threads() == 2


def test_what_was_drawn_before_does_not_matter(points, script):
    path = script(
        PLAIN.replace("+ noise", "+ random.random()").replace("import numpy", "import random\n    import numpy")
    )
    random.seed(7)
    ref = trained(points, path)
    random.random()
    assert points.models.replay(ref).identical

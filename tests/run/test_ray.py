"""What is of the Ray executor alone: where its processes are, what is killed with Ray's own, scripts that go along."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("ray") is None:  # not imported here: we do so in our own way
    pytest.skip("needs the ray extra", allow_module_level=True)

from nemesyst.errors import JobError, SettingsError
from nemesyst.run import Watcher, jobs_of, run_rounds
from nemesyst.run.ray import executor as ray_executor
from nemesyst.run.ray.cluster import Cluster, open_cluster
from nemesyst.run.ray.executor import RayExecutor
from nemesyst.run.ray.place import LARGEST, pack
from nemesyst.stages import load_script

pytestmark = pytest.mark.slow

SHORT = Path("/tmp")  # noqa: S108 - the names of sockets may not be long
HEAD = "import os, time, signal\nimport nemesyst as nm\n"
HANGS = """
@nm.wrangler(into="hung")
def hangs(run):
    print("pid", os.getpid(), os.getpgrp(), flush=True)
    time.sleep(600)
    yield {}
"""
KILLS_RAY = """
def parent(pid):
    return int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])

@nm.wrangler(into="kills", key="n")
def kills(run):
    if run.hub.db.kills.find_one() is None:
        run.hub.put("kills", [{"n": 0}], key="n")
        os.kill(parent(parent(os.getpid())), signal.SIGKILL)
        time.sleep(600)
    yield {"n": 1}
"""
TALKS = """
@nm.wrangler(into="talk")
def talks(run):
    print("hello")
    yield {"n": 1}
"""
GOES_ALONG = """
from beside import WORD

@nm.wrangler(into="words")
def goes(run):
    yield {"word": WORD, "here": os.getcwd(), "file": __file__}
"""


class Lines(Watcher):
    def __init__(self):
        self.lines = []

    def output(self, job, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def cluster():
    """A connection to a cluster that this module's executors find."""
    cluster = open_cluster(None, 4)
    yield cluster
    cluster.close()
    assert not Path(cluster._folder).exists()


@pytest.fixture
def write(tmp_path):
    def write(text, name="job.py"):
        path = tmp_path / name
        path.write_text(HEAD + text)
        return path

    return write


def gone(found, seconds=30):
    """Whether something is no longer found, soon."""
    until = time.monotonic() + seconds
    while found() and time.monotonic() < until:
        time.sleep(0.05)
    return not found()


def of_group(group):
    """Processes of a process group that live."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(entry.name))
    return found


def folder_of(pid):
    return list(SHORT.glob(f"nm-ray-{pid}-*"))


@pytest.fixture
def command(hub, home, names, write, tmp_path):
    """The command with a job that hangs, in a process group of its own; and the job's process."""
    where = ["--home", str(home), "--database", names["database"], "--state", names["state"]]
    process = subprocess.Popen(
        [sys.executable, "-m", "nemesyst_cli", "wrangle", str(write(HANGS)), "--executor", "ray", *where],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "errors").open("w"),
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(SHORT)},
    )
    words = next((line.split() for line in process.stdout if " pid " in line), None)
    assert words, (tmp_path / "errors").read_text()
    yield process, int(words[-2]), int(words[-1])
    for pid in of_group(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_interrupted_the_command_ends_its_jobs_and_the_cluster(command, tmp_path):
    process, job, group = command
    assert group == process.pid, "the job is not in the command's process group"
    assert folder_of(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert gone(lambda: of_group(process.pid))
    assert gone(lambda: Path(f"/proc/{job}").exists())
    assert gone(lambda: folder_of(process.pid))
    assert "Traceback" not in (tmp_path / "errors").read_text()


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_killed_the_command_leaves_nothing_behind(command, kill):
    process, job, _ = command
    kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(lambda: Path(f"/proc/{job}").exists())
    assert gone(lambda: of_group(process.pid))
    assert gone(lambda: folder_of(process.pid))


def test_a_process_of_ray_that_is_killed_is_a_job_that_is_begun_again(cluster, hub, write, capsys):
    (job,) = jobs_of([load_script(write(KILLS_RAY))])
    with RayExecutor(hub.settings.reveal()) as executor:
        (report,) = run_rounds([replace(job, retries=1)], executor)
    assert report.error is None, report.error
    assert report.attempts == 2
    assert capsys.readouterr().out == ""  # Ray would tell of it there
    assert hub.state.runs.count_documents({}) == 1


def test_settings_are_in_no_log_of_the_cluster(cluster, hub, write):
    settings = hub.settings.reveal() | {"args": {"unused": "a-secret-word"}}
    with RayExecutor(settings) as executor:
        (report,) = run_rounds(jobs_of([load_script(write(TALKS))]), executor)
    assert report.error is None, report.error
    logs = [path for path in Path(cluster._folder).rglob("*") if path.is_file()]
    assert logs
    assert not [path for path in logs if b"a-secret-word" in path.read_bytes()]


def test_the_folder_of_a_script_goes_along(cluster, hub, write, tmp_path):
    (tmp_path / "beside.py").write_text("WORD = 'beside'\n")
    path = write(GOES_ALONG, "goes.py")
    with RayExecutor(hub.settings.reveal(), ship=True) as executor:
        (report,) = run_rounds(jobs_of([load_script(path)]), executor)
    assert report.error is None, report.error
    row = hub.db.words.find_one()
    shutil.rmtree(row["here"])
    assert row["word"] == "beside"
    assert not row["file"].startswith(str(tmp_path))
    assert hub.state.runs.find_one()["script"] == str(path)


@pytest.fixture
def running():
    """The address of a cluster that others have started."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="nm-head-", dir=SHORT)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--port={port}"]
    command += ["--num-cpus=2", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}"]
    head = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    said = []
    assert any("--block" in line for line in head.stdout if said.append(line) is None), "".join(said)
    yield f"127.0.0.1:{port}"
    assert head.poll() is None, "it has ended the cluster of others"
    os.killpg(head.pid, signal.SIGKILL)
    head.wait()
    head.stdout.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_it_joins_a_cluster_that_runs_and_leaves_it_running(running, hub, home, names, write):
    where = ["--home", str(home), "--database", names["database"], "--state", names["state"]]
    done = subprocess.run(
        [sys.executable, "-m", "nemesyst_cli", "wrangle", str(write(TALKS)), "--executor", "ray", "--json", *where],
        env={**os.environ, "RAY_ADDRESS": running},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
    assert hub.db.talk.count_documents({}) == 1


def test_a_folder_that_is_too_large_is_refused(write, tmp_path):
    (tmp_path / "data.bin").open("wb").truncate(LARGEST + 1)
    with pytest.raises(JobError, match=r"more than 50 MB (.|\n)*folder of their own"):
        pack(write(GOES_ALONG))


def test_an_environment_and_hidden_folders_stay_where_they_are(write, tmp_path):
    path, before = write(GOES_ALONG), pack(write(GOES_ALONG))
    for folder in (".git", "venv"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "pyvenv.cfg").write_text("x")
    assert pack(path) == before


def test_nodes_on_other_machines_need_a_database_that_they_reach(hub, monkeypatch):
    far = Cluster(cpus=8, gpus=0.0, elsewhere=True, started=False, joined=False)
    monkeypatch.setattr(ray_executor, "open_cluster", lambda *_: far)
    with pytest.raises(SettingsError, match=r"cannot reach the embedded server(.|\n)*NEMESYST_ADDRESS"):
        RayExecutor(hub.settings.reveal())


PLACES = """
from nemesyst.run.ray.cluster import open_cluster

for address in ("ray://127.0.0.1:10001", "127.0.0.1:1", "somewhere"):
    try:
        open_cluster(address, None)
    except Exception as error:
        print(type(error).__name__, error, sep="|")
"""


def test_an_address_without_a_cluster_is_refused():
    # A process of its own: this one may be connected.
    done = subprocess.run([sys.executable, "-c", PLACES], capture_output=True, text=True, timeout=200)
    assert done.stdout.splitlines()[::2] == [
        "SettingsError|ray_address 'ray://127.0.0.1:10001': a client's address is not supported",
        "UnreachableError|no Ray cluster answers at 127.0.0.1:1: [Errno 111] Connection refused",
        "SettingsError|ray_address 'somewhere' is no address of a cluster",
    ]

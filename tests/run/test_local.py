"""Jobs in processes of their own: outcomes, failures, rounds, interruption."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from bson import ObjectId

from nemesyst.errors import JobError, NemesystError, ScriptError
from nemesyst.run import Job, LocalExecutor, Watcher, jobs_of, run_rounds
from nemesyst.run.local.gpus import Gpus, find_gpus
from nemesyst.run.threads import cores
from nemesyst.stages import load_script

pytestmark = [pytest.mark.core, pytest.mark.slow]

HEAD = "import os, time, signal\nimport nemesyst as nm\n"
GOOD = "@nm.wrangler(into='good')\ndef good(run, count: int = 3):\n    yield from ({'i': i, 'pid': os.getpid()} for i in range(count))\n"


class Recorder(Watcher):
    """Notes what it sees."""

    def __init__(self):
        self.lines, self.events, self.seen = [], [], threading.Event()

    def output(self, job, line):
        self.lines.append((job.name, line))

    def progress(self, job, event):
        self.events.append(event)

    def ended(self, report):
        self.seen.set()


@pytest.fixture
def run_script(hub, tmp_path):
    """Run a script's jobs on this test's databases."""

    def run(text, processes=2, watcher=None, **args):
        path = tmp_path / "job.py"
        path.write_text(HEAD + text)
        values = hub.settings.reveal() | {"args": args}
        with LocalExecutor(values, processes) as executor:
            return run_rounds(jobs_of([load_script(path)]), executor, watcher)

    return run


@pytest.fixture
def executor(hub):
    """An executor for jobs that a test launches itself."""
    with LocalExecutor(hub.settings.reveal(), 2, gpus=[]) as executor:
        yield executor


def ended(executor, *jobs, watcher=None):
    """Run jobs side by side; their reports in the order of the jobs."""
    for job in jobs:
        executor.launch(job, watcher or Watcher())
    reports = []
    while len(reports) < len(jobs):
        reports += executor.wait(None)
    return sorted(reports, key=lambda report: jobs.index(report.job))


@pytest.fixture
def job(tmp_path):
    """Make a job of a wrangler's body."""

    def make(body, label="", **asked):
        path = tmp_path / f"job{abs(hash((body, label)))}.py"
        path.write_text(
            f"{HEAD}import sys, random\n@nm.wrangler(into='rows')\ndef work(run, n: int = 0):\n    {body}\n"
        )
        return Job(path, "work", "wrangle", label, **asked)

    return make


def test_each_job_runs_in_a_process_of_its_own(run_script, hub):
    reports = run_script(GOOD + GOOD.replace("good", "other"))
    assert [report.error for report in reports] == [None, None]
    pids = {row["pid"] for name in ("good", "other") for row in hub.db[name].find()}
    assert len(pids) == 2
    assert os.getpid() not in pids


def test_arguments_reach_the_function(run_script, hub):
    run_script(GOOD, count="5")
    assert hub.db.good.count_documents({}) == 5


def test_a_failing_job_does_not_stop_its_neighbour_but_the_next_round(run_script, hub):
    learn = "@nm.learner(nm.Feed('good'), model='m')\ndef learn(run): return nm.Trained({})\n"
    bad = "@nm.wrangler(into='bad')\ndef bad(run):\n    yield {'i': 1}\n    raise ValueError('broken sensor')\n"
    reports = run_script(bad + GOOD + learn)
    assert [report.job.name for report in reports] == ["bad", "good"]
    assert hub.db.good.count_documents({}) == 3
    assert isinstance(reports[0].error, JobError)
    assert "in bad: ValueError: broken sensor" in reports[0].error.message
    assert "job.py:6" in reports[0].error.message


def test_an_error_of_ours_keeps_its_kind_and_remedy(run_script):
    (report,) = run_script("@nm.learner(nm.Feed('nope'), model='m')\ndef learn(run): ...\n")
    assert type(report.error).__name__ == "FeedError"
    assert "no collection 'nope'" in str(report.error)


def test_a_job_that_is_killed_is_told(run_script):
    kill = "@nm.wrangler(into='bad')\ndef bad(run):\n    print('so far', flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    (report,) = run_script(kill)
    assert "was killed by SIGKILL before it was done; it said last: so far" in report.error.message


def test_a_job_that_exits_is_told(run_script):
    (report,) = run_script("@nm.wrangler(into='bad')\ndef bad(run):\n    os._exit(3)\n    yield\n")
    assert "ended with code 3" in report.error.message


def test_what_a_job_prints_and_logs_is_passed_on(run_script):
    recorder = Recorder()
    run_script(
        "@nm.wrangler(into='c')\ndef talk(run):\n    print('hello')\n    run.log({'loss': 0.5}, step=3)\n    yield {}\n",
        watcher=recorder,
    )
    assert ("talk", "hello") in recorder.lines
    assert {"values": {"loss": 0.5}, "step": 3} in recorder.events


def test_jobs_wait_for_a_free_process(run_script, hub):
    text = "".join(
        f"@nm.wrangler(into='times')\ndef job{i}(run):\n    start = time.time()\n    time.sleep(0.2)\n"
        f"    yield {{'start': start, 'end': time.time()}}\n"
        for i in range(3)
    )
    run_script(text, processes=1)
    times = sorted((row["start"], row["end"]) for row in hub.db.times.find())
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(times))


def test_no_job_of_the_kind_is_told(tmp_path):
    path = tmp_path / "job.py"
    path.write_text(HEAD + GOOD)
    with pytest.raises(ScriptError, match=r"no stage to learn(.|\n)*stages to wrangle"):
        jobs_of([load_script(path)], ["learn"])


def test_secrets_are_not_in_the_process_list(run_script, hub):
    look = (
        "@nm.wrangler(into='lines')\ndef look(run):\n"
        "    yield {'line': open('/proc/self/cmdline').read(), 'parent': open(f'/proc/{os.getppid()}/cmdline').read()}\n"
    )
    run_script(look)
    row = hub.db["lines"].find_one()
    assert hub._embedded.password not in row["line"] + row["parent"]


SLOW = "@nm.wrangler(into='slow')\ndef slow(run):\n    yield {'pid': os.getpid()}\n    print('ready', flush=True)\n    time.sleep(600)\n"


def start_command(home, names, path):
    command = [sys.executable, "-m", "nemesyst_cli", "wrangle", str(path), "--home", str(home)]
    command += ["--database", names["database"], "--state", names["state"]]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def gone(pid, seconds=15):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if "State:\tZ" in open(f"/proc/{pid}/status").read():
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_ends_its_jobs_and_says_so(hub, home, names, tmp_path, number, code):
    path = tmp_path / "job.py"
    path.write_text(HEAD + SLOW.replace("time.sleep", "print(os.getpid(), flush=True) or time.sleep"))
    process = start_command(home, names, path)
    pid = next(int(line.split("|")[1]) for line in process.stdout if line.split("|")[-1].strip().isdigit())
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert gone(pid)


def test_killed_it_leaves_no_job_behind(hub, home, names, tmp_path):
    path = tmp_path / "job.py"
    path.write_text(HEAD + SLOW.replace("time.sleep", "print(os.getpid(), flush=True) or time.sleep"))
    process = start_command(home, names, path)
    pid = next(int(line.split("|")[1]) for line in process.stdout if line.split("|")[-1].strip().isdigit())
    process.kill()
    process.communicate()
    assert gone(pid)


def test_the_errors_of_a_job_are_errors_of_ours(run_script):
    (report,) = run_script(
        "@nm.wrangler(into='bad', key='i')\ndef bad(run):\n    run.hub.put('$bad', [])\n    yield {}\n"
    )
    assert isinstance(report.error, NemesystError)


def test_what_a_function_writes_into_our_pipe_does_no_harm(run_script, hub):
    stray = "    for fd in range(3, 30):\n        try: os.write(fd, b'{\"done\": 5}\\nnonsense\\n5\\n')\n        except OSError: pass\n"
    (report,) = run_script("@nm.wrangler(into='good')\ndef stray(run):\n    yield {'i': 1}\n" + stray)
    assert report.error is None
    assert hub.db.good.count_documents({}) == 1


def test_a_child_that_keeps_the_output_open_does_not_hold_up_the_end(run_script, hub):
    child = "    import subprocess\n    child = subprocess.Popen(['sleep', '1000'])\n    yield {'pid': child.pid}\n"
    (report,) = run_script("@nm.wrangler(into='good')\ndef leave(run):\n" + child)  # else the test times out
    os.kill(hub.db.good.find_one()["pid"], signal.SIGKILL)
    assert report.error is None


@pytest.mark.parametrize("raised", ["BaseException('x')", "GeneratorExit", "SystemExit(3)", "Silent()"])
def test_whatever_a_function_raises_is_told_with_its_line(run_script, raised):
    silent = "class Silent(Exception):\n    def __str__(self): raise ValueError\n"
    (report,) = run_script(silent + f"@nm.wrangler(into='bad')\ndef bad(run):\n    yield {{}}\n    raise {raised}\n")
    assert "in bad: " in report.error.message


def test_a_pool_of_the_functions_own_ends_quietly(run_script):
    recorder = Recorder()
    pool = "    import multiprocessing\n    with multiprocessing.get_context('fork').Pool(2) as pool:\n        yield {'sum': sum(pool.map(abs, [1, 2]))}\n"
    (report,) = run_script("@nm.wrangler(into='sums')\ndef sums(run):\n" + pool, watcher=recorder)
    assert report.error is None
    assert recorder.lines == []


def test_entity_and_arguments_of_a_job_come_before_those_of_the_settings(executor, job, hub):
    given = job("yield {'n': n, 'entity': run.entity}", entity=ObjectId("0" * 24), args={"n": 7})
    (report,) = ended(executor, given)
    assert report.error is None
    assert hub.db.rows.find_one({}, {"_id": 0, "n": 1, "entity": 1}) == {"n": 7, "entity": ObjectId("0" * 24)}


def test_an_argument_that_no_process_can_be_given_is_told(executor, job):
    (report,) = ended(executor, job("yield {}", args={"n": object()}))
    assert "its arguments cannot be handed to another process" in report.error.message


def test_a_report_has_time_and_memory(executor, job):
    (report,) = ended(executor, job("x = bytearray(200_000_000); x[::4096] = x[::4096]; yield {}"))
    assert report.seconds > 0
    assert report.memory > 200_000_000


@pytest.mark.parametrize(
    ("body", "transient"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL); yield {}", True),
        ("yield {}; raise nm.errors.UnreachableError('away')", True),
        ("import pymongo.errors; yield {}; raise pymongo.errors.NotPrimaryError('stepped down')", True),
        ("yield {}; raise ValueError('broken')", False),
    ],
)
def test_a_report_says_whether_the_failure_passes_by_itself(executor, job, body, transient):
    (report,) = ended(executor, job(body))
    assert report.error is not None
    assert report.transient is transient


def test_jobs_draw_random_numbers_of_their_own(executor, job, hub):
    draw = "import numpy; yield {'python': random.random(), 'numpy': float(numpy.random.rand())}"
    ended(executor, job(draw, "1"), job(draw, "2"))
    assert len(hub.db.rows.distinct("python")) == len(hub.db.rows.distinct("numpy")) == 2


def test_jobs_side_by_side_share_the_cores_and_one_alone_has_all(executor, job, hub):
    tell = "yield {'side': %d, 'threads': int(os.environ['OMP_NUM_THREADS'])}"
    ended(executor, job(tell % 2, "1"), job(tell % 2, "2"))
    ended(executor, job(tell % 1))
    threads = {row["side"]: row["threads"] for row in hub.db.rows.find()}
    assert threads == {1: cores(), 2: max(1, cores() // 2)}


def test_what_one_job_has_imported_is_there_for_the_next(executor, job, hub):
    tell = "yield {'at': time.time_ns(), 'there': 'numpy.testing' in sys.modules}; import numpy.testing"
    for label in "12":
        ended(executor, job(tell, label))
    assert [row["there"] for row in hub.db.rows.find(sort=[("at", 1)])] == [False, True]


def test_a_job_that_takes_its_parent_along_does_not_stop_the_next(executor, job):
    (report,) = ended(executor, job("os.kill(os.getppid(), signal.SIGKILL); time.sleep(60); yield {}"))
    assert "was killed by SIGKILL" in report.error.message
    assert report.transient
    (report,) = ended(executor, job("yield {}"))
    assert report.error is None


def test_a_job_is_killed_with_all_processes_of_its_own(executor, job):
    recorder = Recorder()
    body = "import subprocess; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); time.sleep(600); yield {}"
    given = job(body)
    executor.launch(given, recorder)
    while not recorder.lines:
        assert not executor.wait(None)
    executor.kill(given)
    while not executor.wait(None):
        pass
    assert gone(int(recorder.lines[0][1]))


def test_without_a_gpu_a_job_runs_on_the_cpu_and_says_so(executor, job, hub):
    recorder = Recorder()
    asked = job("yield {'gpus': os.environ['CUDA_VISIBLE_DEVICES']}", gpus=1)
    assert executor.fits(asked, [])
    ended(executor, asked, watcher=recorder)
    assert hub.db.rows.find_one()["gpus"] == ""
    assert ("work", "there is no GPU here: it runs on the CPU") in recorder.lines


def test_gpus_are_given_out(hub, job):
    tell = "yield {'gpus': os.environ['CUDA_VISIBLE_DEVICES']}"
    one, two, none = (job(tell, label, gpus=gpus) for label, gpus in (("1", 1), ("2", 1), ("3", 0)))
    with LocalExecutor(hub.settings.reveal(), 3, gpus=["5", "7"]) as executor:
        with pytest.raises(JobError, match="asks for 1 x 3 GPUs, and this machine has 2"):
            executor.fits(job(tell, gpus=3), [])
        ended(executor, one, two, none)
    assert sorted(row["gpus"] for row in hub.db.rows.find()) == ["", "5", "7"]


def test_parts_of_gpus_are_shared_and_whole_ones_are_not():
    gpus = Gpus(["0", "1"])
    half = gpus.take(2, 0.5)
    assert half == [("0", 0.5), ("0", 0.5)]
    assert gpus.fit(1, 1)
    assert not gpus.fit(1, 2)
    assert gpus.take(1, 1) == [("1", 1.0)]
    assert not gpus.fit(1, 0.5)
    gpus.give_back(half)
    assert gpus.fit(2, 0.5)


def test_the_gpus_of_this_machine_are_those_that_are_visible(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 1")
    assert find_gpus() == ["3", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert find_gpus() == []


def test_more_workers_than_there_are_processes_are_refused(executor, job):
    with pytest.raises(JobError, match=r"asks for 1000 workers(.|\n)*--processes 1000"):
        executor.fits(job("yield {}", workers=1000), [])


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("yield {}", None),
        ("os.kill(os.getpid(), signal.SIGKILL); yield {}", "was killed by SIGKILL"),
        ("yield {}; raise ValueError('broken')", "ValueError: broken"),
    ],
)
def test_processes_that_are_not_forked_do_the_same(hub, job, body, told):
    with LocalExecutor(hub.settings.reveal(), 2, fork=False) as executor:
        (report,) = ended(executor, job(body))
    assert report.memory > 10_000_000
    assert (report.error is None) if told is None else (told in report.error.message)

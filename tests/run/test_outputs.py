"""What jobs print is found again, and how they ended is recorded, also when they could not tell themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nemesyst.errors import JobError
from nemesyst.run import Job, JobReport, Kept, LocalExecutor, Watcher, jobs_of, run_rounds
from nemesyst.run.outputs import FIRST, LAST
from nemesyst.stages import load_script

from .records import running, until

pytestmark = pytest.mark.core

HEAD = "import os, signal, time\nimport nemesyst as nm\n"
PRINTS = "@nm.wrangler(into='rows')\ndef talk(run):\n    for i in range(3): print('line', i)\n    yield {'i': 1}\n"
KILLED = "@nm.wrangler(into='rows')\ndef killed(run):\n    print('last words', flush=True)\n    time.sleep(0.5)\n    os.kill(os.getpid(), signal.SIGKILL)\n    yield {}\n"


class Seen(Watcher):
    """Notes what it is told."""

    def __init__(self):
        self.told = []

    def output(self, job, line):
        self.told.append(("output", line))

    def ended(self, report):
        self.told.append(("ended", report.error))


@pytest.fixture
def run_script(hub, tmp_path):
    """Run a script's jobs; gives the records of their runs by function."""

    def run(text, watcher=None, **changes):
        path = tmp_path / "job.py"
        path.write_text(HEAD + text)
        jobs = [replace(job, **changes) for job in jobs_of([load_script(path)])]
        with LocalExecutor(hub.settings.reveal(), 2) as executor, Kept(watcher or Watcher(), hub) as kept:
            run_rounds(jobs, executor, kept)
        return {record.work.function: record for record in hub.runs.list()}

    return run


def printed(hub, record):
    return "".join(hub.runs.output(record.id))


@pytest.mark.slow
def test_the_output_of_jobs_is_kept_by_run(run_script, hub):
    seen = Seen()
    found = run_script(PRINTS + KILLED, seen)
    assert printed(hub, found["talk"]) == "line 0\nline 1\nline 2\n"
    assert printed(hub, found["killed"]) == "last words\n"
    assert ("output", "last words") in seen.told, "whoever watches is told, too"
    assert {record.command for record in found.values()} == {next(iter(found.values())).command} != {""}
    assert found["talk"].executor == "local"


@pytest.mark.slow
def test_the_end_of_a_killed_job_is_recorded(run_script):
    found = run_script(KILLED)["killed"]
    assert found.status == "failed"
    assert "SIGKILL" in found.error["message"]
    assert found.seconds >= 0.4


@pytest.mark.slow
def test_a_retried_job_goes_on_with_its_run(run_script, hub, tmp_path):
    mark = tmp_path / "begun"
    once = (
        f"@nm.wrangler(into='rows')\ndef once(run):\n    from pathlib import Path\n    mark = Path({str(mark)!r})\n"
        "    print('attempt', 2 if mark.exists() else 1, flush=True)\n    if not mark.exists():\n        mark.touch()\n"
        "        time.sleep(0.5)\n        os.kill(os.getpid(), signal.SIGKILL)\n    yield {'i': 1}\n"
    )
    found = run_script(once, retries=1)["once"]
    assert (found.status, found.attempts, found.error) == ("done", 2, None)
    assert printed(hub, found) == "attempt 1\nattempt 2\n"
    assert len(hub.runs.list()) == 1


def tell(kept, job, run, lines):
    """What an executor tells of a job that prints."""
    kept.started(job)
    kept.progress(job, {"run": run, "attempt": 1})
    for line in lines:
        kept.output(job, line)


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path / "job.py", "learn", "learn")


def test_of_a_long_output_the_beginning_and_the_end_are_kept(hub, job):
    with running(hub) as recorder, Kept(Watcher(), hub) as kept:
        line = "x" * 9_999
        tell(kept, job, recorder.run, (f"{n:06d}{line}" for n in range(2 * FIRST // 10_000)))
        kept.ended(JobReport(job))
    text = printed(hub, hub.runs.get(recorder.run))
    assert FIRST + LAST <= len(text) <= FIRST + LAST + 200_000
    assert text.startswith("000000x")
    assert text.splitlines()[-1].startswith("001999x")
    assert text.count("[some output is not kept]") == 1
    assert max(len("".join(each["pieces"])) for each in hub.state["runs.output"].find()) <= 64_000


def test_lines_stay_whole_where_output_is_cut_into_buckets(hub, job):
    lines = [f"{n:05d}" * 37 for n in range(2000)] + ["y" * 150_000, "end"]
    with running(hub) as recorder, Kept(Watcher(), hub) as kept:
        tell(kept, job, recorder.run, lines)
        kept.ended(JobReport(job))
    assert printed(hub, hub.runs.get(recorder.run)).splitlines() == lines
    assert [told.output for told in hub.runs.tail(recorder.run)][:2000] == lines[:2000]


def test_lines_from_before_the_run_is_known_are_kept(hub, job):
    with running(hub) as recorder, Kept(Watcher(), hub) as kept:
        kept.started(job)
        kept.output(job, "early \ud800")
        tell(kept, job, recorder.run, ["later"])
        kept.ended(JobReport(job))
    assert printed(hub, hub.runs.get(recorder.run)) == "early ?\nlater\n"


def test_a_job_that_never_had_a_run_keeps_nothing(hub, job):
    with Kept(Watcher(), hub) as kept:
        kept.started(job)
        kept.output(job, "no")
        kept.ended(JobReport(job, error=JobError("its script is broken")))
    assert hub.state["runs.output"].count_documents({}) == 0


def test_what_a_job_recorded_of_its_own_end_stays(hub, job):
    with Kept(Watcher(), hub) as kept:
        with pytest.raises(JobError), running(hub) as recorder:
            raise JobError("its own words", "its own remedy")
        tell(kept, job, recorder.run, [])
        kept.ended(JobReport(job, error=JobError("other words")))
    assert hub.runs.get(recorder.run).error["message"] == "its own words"


def test_a_job_that_took_too_long_has_failed_though_it_says_that_it_stopped(hub, job):
    late = replace(job, timeout=2.0)
    with Kept(Watcher(), hub) as kept:
        with pytest.raises(KeyboardInterrupt), running(hub) as recorder:
            raise KeyboardInterrupt
        tell(kept, late, recorder.run, [])
        kept.ended(JobReport(late, error=JobError("it took longer than 2 s"), seconds=2.1))
    found = hub.runs.get(recorder.run)
    assert (found.status, found.error["message"]) == ("failed", "it took longer than 2 s")


def test_an_interrupted_command_leaves_no_run_as_running(hub, job):
    from nemesyst.run.records.starting import begin

    from .records import work

    run = begin(hub.state, work()).id
    with pytest.raises(KeyboardInterrupt), Kept(Watcher(), hub) as kept:  # noqa: PT012 - it is interrupted at its end
        tell(kept, job, run, ["a line"])
        raise KeyboardInterrupt
    found = hub.runs.get(run)
    assert found.status == "stopped"
    assert printed(hub, found) == "a line\n"


def test_a_run_is_followed_until_it_ends(hub, job):
    told = []
    with Kept(Watcher(), hub) as kept:
        with running(hub) as recorder:
            tell(kept, job, recorder.run, ["one", "two"])
            until(lambda: printed(hub, recorder_of(hub, recorder)))
            steps = iter([lambda: kept.output(job, "three"), lambda: recorder.log({"loss": 0.5}, 3)])
            tail = hub.runs.tail(recorder.run, lines=1, wait=lambda: next(steps, int)())  # noqa: PLW0108 - another one each time
            for each in tail:
                told.append(each.output or (each.step, each.values))
                if len(told) == 3:
                    break
        rest = list(tail)
    assert told[0] == "two"
    assert sorted(map(str, told[1:])) == sorted(map(str, ["three", (3, {"loss": 0.5})]))
    assert rest == []


def recorder_of(hub, recorder):
    return hub.runs.get(recorder.run)

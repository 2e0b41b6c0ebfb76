"""What runs when, and what becomes of those that fail, hang or are in each other's way."""

import itertools
from pathlib import Path

import pytest

from nemesyst.errors import FeedError
from nemesyst.run import Job, JobReport, Watcher, run_rounds
from nemesyst.run import round as one
from nemesyst.run.waiting import Turn, Waiting

from .fakes import Scripted

pytestmark = pytest.mark.core


def job(name, **options):
    return Job(Path("job.py"), name, options.pop("kind", "learn"), **options)


class Seen(Watcher):
    """Notes what it sees."""

    def __init__(self):
        self.rounds, self.agains, self.names = [], [], []

    def round(self, kind, jobs):
        self.rounds.append((kind, jobs))

    def again(self, report, seconds):
        self.agains.append((report.job.name, report.attempts, seconds))

    def ended(self, report):
        self.names.append(report.job.name)


@pytest.fixture
def quick(monkeypatch):
    """Shorter waits."""
    monkeypatch.setattr(one, "_GRACE", 0.05)
    monkeypatch.setattr(one, "_LONGEST", 0.02)


def test_rounds_follow_each_other_and_stop_after_a_failure():
    executor, seen = Scripted({"a": ["fails"], "b": ["done"], "c": ["done"]}), Seen()
    jobs = [job("c", kind="infer"), job("a"), job("b", kind="wrangle")]
    reports = run_rounds(jobs, executor, seen)
    assert [report.job.name for report in reports] == ["b", "a"]
    assert seen.rounds == [("wrangle", 1), ("learn", 1)]


def test_jobs_run_side_by_side_as_far_as_there_is_room():
    names = "abcde"
    executor = Scripted({name: ["done"] for name in names}, room=2)
    assert len(run_rounds([job(name) for name in names], executor)) == 5
    assert executor.together == 2


def test_what_is_transient_is_tried_again(quick):
    executor, seen = Scripted({"a": ["away", "away", "done"]}), Seen()
    (report,) = run_rounds([job("a", retries=3)], executor, seen)
    assert (report.error, report.attempts) == (None, 3)
    assert [name[:2] for name in seen.agains] == [("a", 1), ("a", 2)]
    assert not any(each.resume or each.continues for each in executor.launched), "none had a record"


@pytest.mark.parametrize("resume", [False, True])
def test_an_attempt_goes_on_with_the_run_that_one_before_has_told_of(quick, resume):
    executor = Scripted({"a": ["away", "away", "away", "done"]})
    executor.tells["a"] = ["", "r1", "", ""]
    (report,) = run_rounds([job("a", retries=3, resume=resume)], executor)
    assert [each.continues for each in executor.launched] == ["", "", "r1", "r1"]
    assert {each.resume for each in executor.launched} == {resume}
    assert report.error is None


def test_the_time_between_attempts_doubles_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(one, "time", Clock())
    executor, seen = Scripted({"a": ["away"] * 8}), Seen()
    (report,) = run_rounds([job("a", retries=7)], executor, seen)
    assert [seconds for _, _, seconds in seen.agains] == [1, 2, 4, 8, 16, 30, 30]
    assert (report.attempts, report.transient) == (8, True)


class Clock:
    """A clock that sleeping moves."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_other_failures_are_not_tried_again():
    (report,) = run_rounds([job("a", retries=3)], Scripted({"a": ["fails"]}))
    assert report.attempts == 1


def test_a_job_that_takes_too_long_is_interrupted_and_says_where_it_was():
    executor = Scripted({"a": ["hangs"], "b": ["done"]})
    late, fine = run_rounds([job("a", timeout=0.05), job("b")], executor)
    assert late.error.message == "job.py:7 in a: learn a (job.py) took longer than 0.05 s and was ended"
    assert fine.error is None
    assert executor.told == [("interrupt", "a")]


def test_one_that_does_not_listen_is_killed(quick):
    executor = Scripted({"a": ["deaf"]})
    (report,) = run_rounds([job("a", timeout=0.05, retries=2)], executor)
    assert "did not end when asked to, and was killed" in report.error.message
    assert executor.told == [("interrupt", "a"), ("kill", "a")]
    assert report.attempts == 1


def test_with_fail_fast_the_others_are_stopped_and_the_rest_not_begun():
    executor = Scripted({"a": ["hangs"], "b": ["fails"], "c": ["done"]})
    stopped, failed = run_rounds([job("a"), job("b"), job("c")], executor, fail_fast=True)
    assert stopped.stopped
    assert "was stopped, as learn b failed" in stopped.error.message
    assert not failed.stopped
    assert [each.name for each in executor.launched] == ["a", "b"]


def test_a_job_that_never_fits_fails_and_the_others_go_on():
    executor = Scripted({"a": ["done"]}, room=2)
    big, fine = run_rounds([job("big", workers=3), job("a")], executor)
    assert "asks for 3 processes" in big.error.message
    assert fine.error is None


def test_a_big_job_is_passed_by_small_ones_but_not_for_ever():
    waiting = Waiting()
    for number in range(40):
        waiting.add(Turn(number, job(f"j{number}", workers=2 if number == 1 else 1)))
    taken = [waiting.next(lambda each: each.workers == 1, 0.0) for _ in range(20)]
    assert taken[0].number == 0
    assert len([turn for turn in taken if turn]) == 17
    assert waiting.next(lambda _: True, 0.0).number == 1


class Entities:
    """An expander: each learner stands for so many jobs."""

    def __init__(self, **counts):
        self.counts, self.done = counts, []

    def expand(self, template, watcher):
        if not self.counts[template.name]:
            raise FeedError("no entity")
        return [job(template.name, label=f"[{n}]", entity=n) for n in range(self.counts[template.name])]

    def conclude(self, template, reports):
        self.done.append((template.name, len(reports)))
        return [JobReport(job(template.name, label="best"))]


def test_learners_of_many_entities_take_turns():
    executor = Scripted({"a": ["done"] * 3, "b": ["done"] * 2}, room=1)
    reports = run_rounds([job("a"), job("b")], executor, expander=Entities(a=3, b=2))
    assert [each.name for each in executor.launched] == ["a", "b", "a", "b", "a"]
    assert [(r.job.name, r.job.label) for r in reports] == [
        ("a", "[0]"), ("a", "[1]"), ("a", "[2]"), ("a", "best"), ("b", "[0]"), ("b", "[1]"), ("b", "best"),
    ]  # fmt: skip


def test_a_learner_without_entities_fails_and_the_others_go_on():
    reports = run_rounds([job("a"), job("b")], Scripted({"b": ["done"]}), expander=Entities(a=0, b=1))
    assert [report.error and report.error.message for report in reports] == ["no entity", None, None]


def test_nothing_is_concluded_for_a_learner_that_was_stopped():
    expander = Entities(a=2, b=1)
    executor = Scripted({"a": ["hangs", "done"], "b": ["fails"]})
    run_rounds([job("a"), job("b")], executor, expander=expander, fail_fast=True)
    assert expander.done == [("b", 1)]


def test_thousands_of_jobs_cost_no_more_than_a_few_calls_each():
    calls = itertools.count()

    class Counting(Scripted):
        def fits(self, job, running):
            next(calls)
            return super().fits(job, running)

    executor = Counting({"a": ["done"] * 2600}, room=2)
    assert len(run_rounds([job("a")], executor, expander=Entities(a=2600))) == 2601
    assert next(calls) < 3 * 2600


def test_interrupted_the_command_ends_all_jobs(quick):
    class Interrupted(Scripted):
        def wait(self, seconds):
            if not self.told:
                raise KeyboardInterrupt
            return super().wait(seconds)

    executor = Interrupted({"a": ["hangs"], "b": ["deaf"]})
    with pytest.raises(KeyboardInterrupt):
        run_rounds([job("a"), job("b")], executor)
    assert executor.told == [("interrupt", "a"), ("interrupt", "b"), ("kill", "b")]

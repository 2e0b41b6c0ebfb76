"""What a run and its command do with full disks, endless lines and workers that die at the end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

from nemesyst.run import Job
from nemesyst.run.local.process import _Lines, error_of
from nemesyst.run.parallel.ranks import Ranks
from nemesyst.run.records import sending
from nemesyst.run.records.ops import Append
from nemesyst.run.records.sending import Sender
from nemesyst.run.records.spool import Spool

from .records import running, until

pytestmark = pytest.mark.core


def order(number, size=100):
    """An order of some bytes."""
    return Append("r", "runs.points", f"r/{number}", 0, 1, {}, {"values": [0.5] * size})


def stored(hub):
    """Numbers of the orders that were carried out, in their order."""
    return [int(each["_id"].partition("/")[2]) for each in hub.state["runs.points"].find().sort("$natural", 1)]


class Room:
    """Files that this process writes to have so many bytes of room."""

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)


def test_what_a_full_disk_does_not_take_waits_in_memory_behind_what_it_took(hub):
    sender = Sender(hub, "r")
    for number in range(10):
        with Room(2000):
            sender._keep([order(number)])
    assert 0 < len(sender._held) < 10
    sender.close()
    assert stored(hub) == list(range(10))
    assert not sender.away
    assert not list((hub.settings.home / "spool").glob("*"))


def test_the_first_order_that_finds_no_room_leaves_no_file(hub):
    sender = Sender(hub, "r")
    with Room(300):
        sender._keep([order(0)])
    sender.close()
    assert stored(hub) == [0]
    assert not list((hub.settings.home / "spool").glob("*"))


def test_a_spool_that_was_cut_or_damaged_gives_what_can_be_read(tmp_path):
    spool, done = Spool(tmp_path, "r"), []
    spool.append([order(0), order(1), order(2)])
    (path,) = tmp_path.glob("*.jsonl")
    data = path.read_bytes()
    first = data.index(b"\n")
    path.write_bytes(b"x" * first + data[first:-5])
    spool.drain(done.append, 60)
    assert [op.id for op in done] == ["r/1"]
    assert spool.torn
    assert not spool


def test_what_is_lost_is_said_once(hub, monkeypatch):
    monkeypatch.setattr(sending, "_KEPT", 3)
    monkeypatch.setattr(sending, "folder_of", lambda _: hub.settings.home / "secret" / "no folder")
    sender = Sender(hub, "r")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in range(6):
            sender._keep([order(number)])
    assert ["the oldest writes are lost" in str(each.message) for each in told] == [True]
    sender.close()
    assert stored(hub) == [3, 4, 5]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_points_of_a_time_without_database_and_disk_are_all_there(hub, monkeypatch):
    folder = hub.settings.home / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", folder], check=True)
    try:
        with running(hub) as recorder:
            away, apply = threading.Event(), recorder._sender._apply

            def may_apply(op):
                if away.is_set():
                    raise sending.DiskFullError("away")
                apply(op)

            monkeypatch.setattr(recorder._sender, "_apply", may_apply)
            away.set()
            for step in range(3000):
                recorder.log({"loss": step / 7}, step)
                if step % 500 == 0:
                    recorder._flush()
            until(lambda: recorder._sender._held)
            away.clear()
            recorder.log({"loss": 1.0}, 3000)
            until(lambda: not recorder._sender.away)
            recorder.log({"loss": 1.0}, 3001)
        assert hub.runs.curves(recorder.run)["loss"].steps.tolist() == list(range(3002))
        assert not list(folder.glob("*"))
    finally:
        subprocess.run(["umount", folder], check=True)


def test_lines_are_cut_where_they_end_or_get_too_long():
    lines = _Lines(10)
    assert lines.take("a\nbä\r".encode()[:-2]) == ["a"]
    assert lines.take("ä\r".encode()[1:]) == []
    assert lines.take(b"\n 10%\r 20%\r") == ["bä", " 10%"]
    assert lines.take(b"x" * 8) == [" 20%"]
    assert lines.take(b"y" * 8) == ["x" * 8 + "y" * 8]
    assert lines.take(b"end") == []
    assert lines.take(b"", final=True) == ["end"]
    assert lines.take(b"", final=True) == []


def test_a_message_stays_whole_however_it_comes():
    lines, piece = _Lines(None), b"x" * (1 << 16)
    assert all(lines.take(piece) == [] for _ in range(1600))  # would take a minute at a cost that is quadratic
    (line,) = lines.take(b"\r\n")
    assert len(line) == (1600 << 16) + 1


def test_a_long_error_is_cut_with_a_note():
    error = error_of({"kind": "JobError", "message": "x" * 30_000, "remedy": "y" * 30_000})
    assert len(error.message) == len(error.remedy) == 4000
    assert error.message.endswith("... (cut: it has 30000 characters)")
    assert error_of({"kind": "JobError", "message": error.message, "remedy": None}).message == error.message


@pytest.mark.parametrize("told", [[], [(1, {"failed": {"message": "x: RuntimeError: gloo", "lost": True}})]])
def test_a_worker_that_is_killed_after_the_outcome_is_a_note(tmp_path, told):
    done, sent = {"done": {"kind": "learn"}}, []
    ranks = Ranks(Job(tmp_path / "job.py", "learn", "learn", workers=2), sent.append)
    for rank, message in [(0, done), *told]:
        ranks.take(rank, message)
    assert ranks.tell_end({0: -signal.SIGTERM, 1: -signal.SIGKILL}) == 0
    note = {"note": "worker 1 of 2 was killed by SIGKILL at its end; the work was done, and is stored"}
    assert sent == [note, done]


def test_a_signal_while_the_interpreter_waits_for_threads_leaves_no_traceback():
    program = """
        import sys, threading, time
        from nemesyst.run.signals import take_signals
        take_signals()
        def late():
            while threading.main_thread().is_alive():
                time.sleep(0.01)
            print("over", flush=True)
            time.sleep(60)
        threading.Thread(target=late).start()
        sys.stdout.write("first\\n")
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert [child.stdout.readline(), child.stdout.readline()] == ["first\n", "over\n"]
        child.terminate()
        assert (child.wait(60), child.stderr.read()) == (130, "")

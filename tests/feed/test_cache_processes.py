"""The cache under several processes: that write at once, are killed, forked, spawned, stopped."""

from __future__ import annotations

import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from nemesyst.feed.cache import Cache, CacheWarning

from .cache_tables import ABOUT, GB, KEY, assert_same, check_all, open_entry, put_all, store, table

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("error::nemesyst.feed.cache.CacheWarning")]

HERE = Path(__file__).parent


def start(code):
    """Run code in a process of its own, with the helpers of these tests."""
    program = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\nfrom cache_tables import *\nfrom pathlib import Path\n{code}"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end(process):
    assert process.communicate(timeout=60)[0] is not None
    assert process.returncode == 0


def fork(function, *arguments):
    """Run a function in a forked child; gives its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.slow
def test_processes_write_one_entry_at_once_and_each_chunk_is_there_once(tmp_path):
    orders = [random.Random(i).sample(range(40), 40) for i in range(3)]
    writers = [start(f"put_all(Path({str(tmp_path)!r}), {order})") for order in orders]
    for writer in writers:
        end(writer)
    check_all(tmp_path, range(40))
    (info,) = Cache(tmp_path, GB).entries()
    assert (info.chunks, info.rows, info.in_use) == (40, 40 * 200, False)


def crashing(call, moment, calls):
    """A system call that, the nth time that one is made, does half of its work and is killed."""

    def made(*arguments, **options):
        if next(calls) == moment:
            if call is real_pwrite:
                call(arguments[0], memoryview(arguments[1])[: len(arguments[1]) // 2], arguments[2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)

    return made


real_pwrite = os.pwrite


def put_until(moment, folder):
    calls = itertools.count()
    for name in ("open", "pwrite", "truncate", "rename", "utime"):
        setattr(os, name, crashing(getattr(os, name), moment, calls))
    put_all(folder, range(2))


@pytest.mark.slow
def test_killed_at_any_system_call_a_writer_leaves_nothing_wrong(tmp_path):
    """Every moment once: in the midst of each write, and before each other call."""
    for moment in itertools.count():
        folder = tmp_path / str(moment)
        code = fork(put_until, moment, folder)
        with open_entry(folder) as entry:
            for chunk in entry.chunks():
                assert_same(entry.get(chunk), table(chunk))
            store(entry, range(3))
        check_all(folder, range(3))
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert moment > 50


def chaos(folder, rounds, chunks):
    """Kill -9 one of two writers at a random moment, again and again, while a reader looks."""
    moments, survivor = random.Random(), None
    for round_ in range(rounds):
        order = moments.sample(range(chunks), chunks)
        victim = start(f"print(flush=True)\nput_all(Path({str(folder)!r}), {order})")
        survivor = survivor or start(f"put_all(Path({str(folder)!r}), {order[::-1]})")
        victim.stdout.readline()
        moment = moments.uniform(0, 0.15)
        print(f"round {round_}: kill after {moment:.3f} s")
        time.sleep(moment)  # the chaos itself, no stand-in for readiness
        victim.kill()
        victim.communicate()
        with open_entry(folder) as entry:
            for chunk in sorted(entry.chunks()):
                assert_same(entry.get(chunk), table(chunk))
        if survivor.poll() is not None:
            end(survivor)
            survivor = None
    if survivor is not None:
        end(survivor)
    put_all(folder, range(chunks))
    check_all(folder, range(chunks))


@pytest.mark.slow
def test_writers_that_are_killed_leave_nothing_wrong_and_the_others_go_on(tmp_path):
    chaos(tmp_path, rounds=4, chunks=30)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_hundred_kills_of_writers_leave_nothing_wrong(tmp_path):
    for part in range(10):
        chaos(tmp_path / str(part), rounds=20, chunks=200)


def test_a_forked_child_reads_and_writes_and_leaves_its_parents_entry_in_use(tmp_path):
    def work():
        assert_same(entry.get(0), table(0))
        entry.put(1, table(1))
        entry.close()

    with open_entry(tmp_path) as entry:
        entry.put(0, table(0))
        assert_same(entry.get(0), table(0))
        assert fork(work) == 0
        assert_same(entry.get(1), table(1))
        assert Cache(tmp_path, GB).clear() == 0
    assert Cache(tmp_path, GB).clear() > 0


def test_a_child_that_is_forked_while_threads_write_gets_no_lock_that_stays_held(tmp_path):
    with open_entry(tmp_path) as entry:
        threads = [
            threading.Thread(target=lambda i=i: [entry.put(c, table(c, 50)) for c in range(i, 200, 2)]) for i in (0, 1)
        ]
        for thread in threads:
            thread.start()
        codes = [fork(lambda i=i: (entry.put(1000 + i, table(i)), entry.get(1000 + i).rows)) for i in range(30)]
        for thread in threads:
            thread.join()
        assert codes == [0] * 30
        assert entry.chunks() >= {*range(200), *range(1000, 1030)}


def test_an_entry_goes_by_pickle_to_a_spawned_process(tmp_path):
    with open_entry(tmp_path) as entry:
        entry.put(0, table(0))
        worker = start(
            "import pickle\nentry = pickle.loads(bytes.fromhex(sys.stdin.read()))\nassert_same(entry.get(0), table(0))\nentry.put(1, table(1))"
        )
        worker.communicate(pickle.dumps(entry).hex(), timeout=60)
        assert worker.returncode == 0
        assert_same(entry.get(1), table(1))


def test_an_entry_of_a_killed_process_is_in_use_no_longer(tmp_path):
    user = start(
        f"entry = open_entry(Path({str(tmp_path)!r}))\nentry.put(0, table(0))\nprint(flush=True)\nsys.stdin.read()"
    )
    user.stdout.readline()
    cache = Cache(tmp_path, GB)
    assert [info.in_use for info in cache.entries()] == [True]
    assert cache.clear() == 0
    user.kill()
    user.communicate()
    assert [info.in_use for info in cache.entries()] == [False]
    assert cache.clear() > 0
    assert cache.entries() == []


def test_a_writer_that_is_stopped_stops_nobody_else(tmp_path):
    with open_entry(tmp_path) as entry:
        entry.put(0, table(0))
        code = "import fcntl\nfile = open(sys.stdin.readline().strip())\nfcntl.flock(file, fcntl.LOCK_EX)\nprint(flush=True)\nsys.stdin.read()"
        stopped = start(code)
        stopped.stdin.write(f"{tmp_path}/{KEY}.rows/writer.lock\n")
        stopped.stdin.flush()
        stopped.stdout.readline()
        os.kill(stopped.pid, signal.SIGSTOP)
        entry.put(1, table(1))  # is not kept, and not waited for
        assert entry.chunks() == {0}
        assert_same(entry.get(0), table(0))
        stopped.kill()
        stopped.communicate()
        entry.put(1, table(1))
        assert entry.chunks() == {0, 1}


def test_threads_share_an_entry(tmp_path):
    found = []
    with open_entry(tmp_path) as entry:

        def work(number):
            for chunk in random.Random(number).sample(range(20), 20):
                entry.put(chunk, table(chunk))
                found.append((chunk, entry.get(chunk)))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 80
    for chunk, got in found:
        assert_same(got, table(chunk))


def test_a_folder_that_is_deleted_while_it_is_used_costs_the_cache_alone(tmp_path):
    import shutil

    cache = Cache(tmp_path / "cache", GB)
    with cache.entry(KEY, ABOUT) as entry:
        entry.put(0, table(0))
        found = entry.get(0)
        shutil.rmtree(tmp_path / "cache")
        with pytest.warns(CacheWarning, match="rows of telemetry: its files have been deleted"):
            entry.put(1, table(1))
        assert_same(found, table(0))
        assert entry.get(1) is None

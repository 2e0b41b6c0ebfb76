"""Long chaos runs, only in ``make soak``: kills at random moments, then everything must be whole.

Each round prints what it does, so that a failure can be played again.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import nemesyst as nm
from nemesyst.database import embedded

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

ROOT = Path(__file__).parents[1]
COMMAND = Path(sys.executable).parent / "nemesyst"


def kill_after(process, seconds):
    """Kill -9 a process group after so long; the chaos that this file is about, no stand-in for readiness."""
    time.sleep(seconds)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_killed_at_twenty_random_moments_the_demo_leaves_whole_versions_only(tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT / "examples"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NEMESYST_DATA", raising=False)
    import digits

    command = [str(COMMAND), "run", str(ROOT / "examples" / "digits.py"), "--arg", "epochs=3"]
    for round_ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
        moment = random.uniform(0.1, 14)
        print(f"round {round_}: kill after {moment:.2f} s")
        kill_after(process, moment)
        with nm.connect() as hub:
            for version in hub.models.list():
                hub.models.load(version.ref, build=digits.make_net)
    subprocess.run(command, check=True)


def put_until_killed(home, acknowledged, stop):
    """Put rows, and note those that were acknowledged."""
    while not stop.is_set():
        try:
            with nm.connect(home=home) as hub:
                while not stop.is_set():
                    row = len(acknowledged)
                    hub.put("rows", [{"i": row}], key="i")
                    acknowledged.append(row)
        except nm.NemesystError as error:
            print(f"  {type(error).__name__}: {error.message:.100}")


def test_sixty_kills_of_the_server_lose_no_acknowledged_row(tmp_path):
    acknowledged, stop = [], threading.Event()
    writer = threading.Thread(target=put_until_killed, args=(tmp_path, acknowledged, stop))
    with nm.connect(home=tmp_path):
        writer.start()
        for round_ in range(60):
            time.sleep(random.uniform(0.05, 2))
            status = embedded.status(tmp_path)
            victim = random.choice([status.pid, status.supervisor])
            print(
                f"round {round_}: kill {'mongod' if victim == status.pid else 'supervisor'}, {len(acknowledged)} rows"
            )
            if victim:
                os.kill(victim, signal.SIGKILL)
            nm.connect(home=tmp_path).close()
        stop.set()
        writer.join()
    with nm.connect(home=tmp_path) as hub:
        assert set(acknowledged) <= set(hub.db["rows"].distinct("_id"))
    assert len(acknowledged) > 1000

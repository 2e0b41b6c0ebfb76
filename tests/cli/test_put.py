"""``nemesyst put``, as a process of its own."""

import gzip
import json
import os
import random
import signal
import subprocess
import sys

import pytest

from nemesyst.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture
def command(home, names, tmp_path):
    """Start ``nemesyst put`` on this worker's server, in a folder of its own."""

    def command(*words, **options):
        where = ["--home", str(home), "--database", names["database"]]
        return subprocess.Popen(
            [sys.executable, "-c", "from nemesyst.cli import main; main()", "put", *words, *where],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, **options,
        )  # fmt: skip

    return command


@pytest.fixture
def run(command):
    """Run it to its end: exit code, standard output, standard error."""

    def run(*words):
        process = command(*words)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        return process.returncode, out, err

    return run


@pytest.fixture
def refused(home, names, tmp_path, monkeypatch, capsys):
    """What it says to a mistake; in this process, which it takes for any other."""

    def run(*words):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(["put", *words, "--home", str(home), "--database", names["database"]])
        assert ended.value.code == 1
        return capsys.readouterr().err

    return run


@pytest.fixture
def csv(tmp_path):
    (tmp_path / "a.csv").write_text("unit,t,air\n1,2026-01-01,2.5\n2,2026-01-01,3\n2,2026-01-01,4\n3,2026-01-01\n")
    return "a.csv"


def test_a_file_is_stored_and_its_schema_shown(hub, run, csv):
    code, out, _ = run(csv, "--into", "telemetry", "--key", "unit,t")
    assert code == 0
    assert "a.csv: unit int, t date, air float" in out
    assert "2 stored, 1 not stored again (a row with their key was there), 1 rejected" in out
    assert "1 x 2 cells, and 3 columns were expected" in out
    assert hub.db.telemetry.find_one({"unit": 2})["air"] == 3.0
    assert hub.db["telemetry.rejected"].find_one()["position"] == 5


def test_the_report_can_be_json_alone(run, csv):
    code, out, _ = run(csv, "--into", "telemetry", "--json")
    report = json.loads(out)
    assert (code, report["collection"], report["stored"], report["rejected"]) == (0, "telemetry", 3, 1)


def test_quiet_says_nothing(run, csv):
    assert run(csv, "--into", "telemetry", "--quiet") == (0, "", "")


def test_several_files_go_in_one_command(hub, run, csv, tmp_path):
    (tmp_path / "b.jsonl").write_text('{"unit": 9}\n')
    assert run(csv, "b.jsonl", "--into", "telemetry")[0] == 0
    assert hub.db.telemetry.count_documents({}) == 4


def test_a_given_type_leads_and_one_with_a_question_mark_may_be_missing(hub, run, tmp_path):
    (tmp_path / "b.csv").write_text("code,air\n1,2\n2,\n3,x\n")
    code, out, _ = run("b.csv", "--into", "telemetry", "--schema", "code=str,air=float?")
    assert (code, "2 stored, 1 rejected" in out) == (0, True)
    assert sorted(hub.db.telemetry.distinct("code")) == ["1", "2"]


@pytest.mark.usefixtures("csv")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gone.csv", "--into", "x"], "gone.csv cannot be read: No such file"),
        (["a.csv", "--into", "x", "--schema", "air=number"], "'number' is no type"),
        (["a.csv", "--into", "x", "--schema", "air"], "is not field=type"),
        (["a.csv", "--into", "x", "--schema", "airr=float"], "there is no field 'airr'\n  did you mean air?"),
        (["a.csv", "--into", "x", "--schema", "air=bytes"], "a CSV file has no bytes"),
        (["a.csv", "--into", "x$"], "collection: 'x$' holds a dollar"),
    ],
)
def test_bad_input_is_one_clear_message_before_any_work(hub, refused, words, said):
    assert said in refused(*words)
    assert hub.db.list_collection_names() == []


def test_a_file_that_breaks_in_the_middle_leaves_what_came_before_and_says_so(hub, run, tmp_path):
    whole = gzip.compress(b"".join(b'{"a": %d}\n' % random.getrandbits(60) for _ in range(20_000)))
    (tmp_path / "b.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    code, _, err = run("b.jsonl.gz", "--into", "telemetry")
    stored = hub.db.telemetry.count_documents({})
    assert code == 1
    assert stored > 1000
    assert "the file is broken: " in err
    assert f"the {stored:,} records before it have been dealt with" in err


def test_a_line_that_is_not_text_is_rejected_alone(hub, run, tmp_path):
    (tmp_path / "b.csv").write_bytes(b"a,b\n" + b"1,x\n" * 15_000 + b"1,\xfc\n" + b"2,y\n" * 5_000)
    code, _, _ = run("b.csv", "--into", "telemetry")
    assert (code, hub.db.telemetry.count_documents({})) == (0, 20_000)
    assert hub.db["telemetry.rejected"].find_one()["position"] == 15_002


def test_ctrl_c_ends_with_130_and_keeps_what_was_acknowledged(hub, command, tmp_path):
    pipe = tmp_path / "endless.jsonl"
    pipe.write_text('{"a": 1}\n' * 2_000_000)
    process = command("endless.jsonl", "--into", "telemetry", process_group=0)
    with hub.db.client[hub.db.name].watch() as changes:
        hub.db.marker.insert_one({})
        next(change for change in changes if change["ns"]["coll"] == "telemetry")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert 0 < hub.db.telemetry.count_documents({}) < 2_000_000


def test_a_field_that_the_files_lack_can_be_set_and_be_in_the_key(hub, run, tmp_path):
    for device in ("fridge", "freezer"):
        path = tmp_path / f"{device}.csv"
        path.write_text("t,air\n1,3.5\n2,3.6\n")
        code, _, _ = run(path, "--into", "ruuvi", "--set", f"device={device}", "--set", "site=12", "--key", "device,t")
        assert code == 0
    assert hub.db.ruuvi.count_documents({"site": 12}) == 4


def test_a_key_that_no_file_has_is_told_before_any_work(hub, run, csv):
    code, _, errors = run(csv, "--into", "telemetry", "--key", "untt,t")
    assert code == 1
    assert "no field 'untt' for the key" in errors
    assert hub.db.list_collection_names() == []


def test_when_every_record_is_rejected_the_command_fails(run, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n')
    assert run(path, "--into", "c", "--key", "b")[0] == 1


def test_the_same_rejected_record_is_kept_once(hub, run, csv):
    for _ in range(2):
        run(csv, "--into", "telemetry", "--key", "unit,t")
    assert hub.db["telemetry.rejected"].count_documents({}) == 1

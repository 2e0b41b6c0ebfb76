"""The command line: each mistake is one clear message with the right exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from nemesyst.cli import main

pytestmark = [pytest.mark.core, pytest.mark.slow]


@pytest.fixture
def nemesyst(hub, home, names, tmp_path):
    """Run ``nemesyst`` on this test's databases in an empty folder."""

    def run(*words, here=True, **variables):
        where = {"NEMESYST_HOME": str(home), "NEMESYST_DATABASE": names["database"], "NEMESYST_STATE": names["state"]}
        environment = {**os.environ, **(where if here else {}), **variables}
        command = [sys.executable, "-m", "nemesyst_cli", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def refused(hub, home, names, tmp_path, monkeypatch, capsys):
    """What ``nemesyst`` says to a mistake on this test's databases; in this process, which it takes for any other."""

    def run(*words, **variables):
        where = {"NEMESYST_HOME": str(home), "NEMESYST_DATABASE": names["database"], "NEMESYST_STATE": names["state"]}
        for name, value in {**where, **variables}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        assert ended.value.code == 1
        return capsys.readouterr().err

    return run


GOOD = "import nemesyst as nm\n@nm.wrangler(into='good')\ndef good(run, count: int = 3):\n    yield from ({'i': i} for i in range(count))\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models", "show", "nope"], "nope"),
        (["models", "show", "a@b@c"], "a@b@c"),
        (["models", "promote", "nope@1", "champion"], "nope"),
        (["models", "rollback", "nope@champion"], "nope"),
        (["run", "nope.py"], "script nope.py does not exist"),
        (["put", "nope.csv", "--into", "c"], "nope.csv cannot be read"),
        (["learn", "good.py"], "no stage to learn in good.py"),
        (["run", "good.py", "--arg", "cuont=3"], "did you mean count"),
        (["run", "good.py", "--arg", "count=many"], "good: argument count='many'"),
        (["run", "good.py", "--arg", "count"], "expected NAME=VALUE"),
        (["models", "list", "--address", "mongodb://ann:pw@db/"], "--address holds a password"),
        (
            ["models", "list", "--address", "mongodb://db/?tlsCertificateKeyFilePassword=pw"],
            "--address holds a password",
        ),
        (["models", "list", "--address", "http://db/"], "http://db/"),
        (["feed", "nope"], "no collection 'nope'"),
        (["feed", "good", "--pipeline", "nope.json"], "pipeline file nope.json cannot be read"),
        (["feed", "good", "--param", "x"], "expected NAME=VALUE"),
        (["db", "status", "--address", "mongodb://db/"], "for the embedded server alone"),
    ],
)
def test_a_mistake_is_told_and_exits_with_1(refused, tmp_path, words, said):
    (tmp_path / "good.py").write_text(GOOD)
    told = refused(*words)
    assert told.startswith("error: ")
    assert said in told


def test_a_mistake_of_a_process_is_no_traceback(nemesyst):
    done = nemesyst("run", "nope.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: script nope.py does not exist")


def test_an_error_as_json(nemesyst):
    done = nemesyst("models", "show", "nope", "--json")
    told = json.loads(done.stdout)
    assert done.returncode == 1
    assert told["error"] == "UnknownModelError"
    assert told["remedy"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NEMESYST_TIMEOUT", "soon", "environment variable NEMESYST_TIMEOUT"),
        ("NEMESYST_DATABSE", "x", "did you mean NEMESYST_DATABASE"),
        ("NEMESYST_CONFIG", "nofile.toml", "nofile.toml, which does not exist"),
        ("NEMESYST_ARGS", "count=3", "NEMESYST_ARGS: 'count=3' is not JSON"),
    ],
)
def test_a_wrong_variable_is_told(refused, variable, value, said):
    assert said in refused("models", "list", **{variable: value})


def test_a_reading_command_makes_no_database_where_there_is_none(nemesyst, tmp_path):
    done = nemesyst("models", "list", here=False)
    assert done.returncode == 1
    assert "there is no database in" in done.stderr
    assert not (tmp_path / ".nemesyst").exists()


def test_a_failed_job_exits_with_1_and_names_the_line(nemesyst, tmp_path):
    (tmp_path / "bad.py").write_text(GOOD + "    raise ValueError('sensor')\n")
    done = nemesyst("run", "bad.py")
    assert done.returncode == 1
    assert "bad.py:5 in good: ValueError: sensor" in done.stderr
    assert "1 of 1 jobs failed" in done.stderr


def test_quiet_says_nothing_and_json_says_one_value(nemesyst, tmp_path):
    (tmp_path / "good.py").write_text(GOOD)
    quiet = nemesyst("run", "good.py", "--quiet")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    (outcome,) = json.loads(nemesyst("run", "good.py", "--json").stdout)
    assert (outcome["job"], outcome["details"]["stored"]) == ("good", 3)


def test_arguments_come_from_line_then_variable_then_file(nemesyst, tmp_path, hub):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "nemesyst.toml").write_text("[args]\ncount = 4\n")
    for words, variables, count in (
        ([], {}, 4),
        ([], {"NEMESYST_ARGS": '{"count": 5}'}, 5),
        (["--arg", "count=6"], {}, 6),
    ):
        hub.db.drop_collection("good")
        assert nemesyst("run", "good.py", *words, **variables).returncode == 0
        assert hub.db.good.count_documents({}) == count


def test_a_feed_is_shown_with_its_arrays_and_rows(nemesyst, tmp_path, hub):
    hub.put("rows", [{"i": i, "air": i / 2, "site": i % 4} for i in range(100)], key="i")
    (tmp_path / "p.json").write_text('[{"$match": {"site": {"$param": "site"}}}]')
    options = ["--pipeline", "p.json", "--param", "site=3", "--inputs", "air,i", "--targets", "site"]
    told = json.loads(nemesyst("feed", "rows", *options, "--json").stdout)
    assert told["rows"] == 25
    assert told["arrays"] == {
        "x": {"dtype": "float32", "shape": "(rows, 2)"},
        "y": {"dtype": "int64", "shape": "(rows)"},
    }
    assert "25 rows in" in nemesyst("feed", "rows", *options).stdout


def test_parameters_of_a_feed_may_be_lists_and_misspelt_ones_are_told(nemesyst, tmp_path, hub):
    hub.put("rows", [{"i": i, "site": i % 4} for i in range(100)], key="i")
    (tmp_path / "p.json").write_text('[{"$match": {"site": {"$in": {"$param": "sites"}}}}]')
    told = nemesyst("feed", "rows", "--pipeline", "p.json", "--param", "sites=[1, 3]", "--json")
    assert json.loads(told.stdout)["rows"] == 50
    for text, said in (("sites=[1", "begins like JSON"), ("site=[1]", "did you mean sites?")):
        refused = nemesyst("feed", "rows", "--pipeline", "p.json", "--param", text)
        assert (refused.returncode > 0, "Traceback" in refused.stderr) == (True, False)
        assert said in refused.stderr


def test_a_script_with_a_syntax_error_is_told_with_its_line(refused, tmp_path):
    (tmp_path / "bad.py").write_text("def f(:\n")
    assert refused("wrangle", "bad.py").startswith("error: bad.py:1: invalid syntax")


def test_an_unreachable_database_fails_soon(refused):
    told = refused("models", "list", "--address", "mongodb://127.0.0.1:1/", NEMESYST_TIMEOUT="0.5")
    assert "no answer from the database" in told


def test_the_version_is_printed(nemesyst):
    assert nemesyst("--version").stdout.strip() == "0.1.0"


def test_a_reader_that_goes_away_ends_the_command_quietly(hub, home, names, tmp_path):
    lines = "import nemesyst as nm\n@nm.wrangler(into='c')\ndef f(run):\n    for i in range(20000): print('x' * 80)\n    yield {}\n"
    (tmp_path / "talk.py").write_text(lines)  # far more than a pipe holds
    where = f"--home {home} --database {names['database']} --state {names['state']}"
    command = f"{sys.executable} -m nemesyst_cli wrangle talk.py {where} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "wrangle f: started\n"
    assert "Traceback" not in done.stderr


def test_an_argument_of_a_function_goes_before_a_setting_of_its_name(nemesyst, tmp_path, hub):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "nemesyst.toml").write_text("[args]\ngood = 5\n")
    assert nemesyst("run", "good.py", "--arg", "good.count=2").returncode == 0
    assert hub.db.good.count_documents({}) == 2


JOBS = """[[jobs]]
script = "good.py"
args = {count = 2}
"""


def test_without_a_script_the_jobs_of_the_settings_file_are_run(nemesyst, tmp_path, hub):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "nemesyst.toml").write_text(JOBS)
    (told,) = json.loads(nemesyst("run", "--json").stdout)
    assert (told["details"]["stored"], told["attempts"], told["memory"] > 0) == (2, 1, True)
    (told,) = json.loads(nemesyst("wrangle", "--arg", "count=5", "--json").stdout)
    assert told["details"]["stored"] == 5  # the command line goes first


@pytest.mark.parametrize(
    ("words", "jobs", "said"),
    [
        ([], "", "no script is named, and nemesyst.toml has no [[jobs]]"),
        ([], JOBS + "functoin = 3", "nemesyst.toml, [[jobs]] 1: there is no key 'functoin'"),
        ([], JOBS.replace("count = 2", 'count = "many"'), "[[jobs]] 1: good: argument count='many'"),
        ([], JOBS.replace("good.py", "god.py"), "[[jobs]] 1: script god.py does not exist"),
        (["--executor", "rey"], JOBS, "there is no executor 'rey'"),
        (["grid.py", "--arg", "k=3"], "", "learn has a grid over it"),
    ],
)
def test_a_mistake_about_jobs_is_told(nemesyst, tmp_path, words, jobs, said):
    (tmp_path / "good.py").write_text(GOOD)
    (tmp_path / "grid.py").write_text(
        "import nemesyst as nm\n@nm.learner('c', model='m', grid={'k': [1]})\ndef learn(run, k: int = 3): ...\n"
    )
    (tmp_path / "nemesyst.toml").write_text(jobs)
    done = nemesyst("run", *words)
    assert done.returncode == 1
    assert said in done.stderr


def test_at_the_end_all_failures_are_summed_up(nemesyst, tmp_path):
    bad = GOOD.replace("good", "bad") + "    raise ValueError('sensor')\n"
    (tmp_path / "jobs.py").write_text(
        GOOD
        + bad.removeprefix("import nemesyst as nm\n")
        + "@nm.predictor('m', into='p')\ndef infer(run, batch): ...\n"
    )
    done = nemesyst("run", "jobs.py")
    assert done.stderr.splitlines()[-2:] == [
        "error: 1 of 3 jobs failed; 1 not started",
        "  wrangle bad: jobs.py:8 in bad: ValueError: sensor",
    ]

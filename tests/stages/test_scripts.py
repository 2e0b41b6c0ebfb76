"""Loading scripts: each mistake is one sentence with file and line."""

import pytest

import nemesyst as nm
from nemesyst.errors import ScriptError
from nemesyst.stages import load_script, stage_of

pytestmark = pytest.mark.core

WRANGLER = "import nemesyst as nm\n@nm.wrangler(into='c')\ndef clean(run): yield {}\n"


def load(tmp_path, text):
    path = tmp_path / "job.py"
    path.write_text(text)
    return load_script(path)


def test_a_script_gives_its_stages_in_order(tmp_path):
    script = load(
        tmp_path,
        WRANGLER + "@nm.learner(nm.Feed('c', inputs='x'), model='m')\ndef learn(run): ...\n"
        "@nm.predictor('m@champion', into='p')\ndef infer(run, batch): ...\n",
    )
    assert [(stage.name, stage.kind) for stage in script.stages] == [
        ("clean", "wrangle"), ("learn", "learn"), ("infer", "infer"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (1,\n", r"job.py:1: '\(' was never closed"),
        ("def f(:\n", "job.py:1: invalid syntax"),
        ("x = 1\n", "job.py has no stage"),
        ("x = 1\nimport nonesuch\n", "job.py:2: ModuleNotFoundError: No module named 'nonesuch'"),
        ("1 / 0\n", "job.py:1: ZeroDivisionError"),
        ("raise SystemExit(3)\n", "job.py:1: SystemExit: 3"),
        (WRANGLER + WRANGLER, r"job.py:5: a second stage named 'clean'; the first is on line 2"),
        (
            "import nemesyst as nm\n@nm.learner(nm.Feed(''), model='m')\ndef f(run): ...\n",
            "job.py:2: Feed: collection=''",
        ),
        ("import nemesyst as nm\n@nm.learner(nm.Feed('c'), model='m@3')\ndef f(run): ...\n", "job.py:2: .*m@3"),
        ("import nemesyst as nm\n@nm.predictor('m@', into='p')\ndef f(run, b): ...\n", "job.py:2"),
        ("\0", "job.py is not Python|job.py:1"),
    ],
)
def test_a_bad_script_is_told_with_file_and_line(tmp_path, text, said):
    with pytest.raises(ScriptError, match=said):
        load(tmp_path, text)


def test_a_script_that_is_not_there_is_told_with_its_neighbours(tmp_path):
    (tmp_path / "digits.py").write_text("")
    with pytest.raises(ScriptError, match=r"does not exist(.|\n)*digits.py"):
        load_script(tmp_path / "digit.py")


def test_a_decorated_function_stays_a_plain_function():
    @nm.wrangler(into="c")
    def clean(run):
        return [run]

    assert clean(3) == [3]
    assert stage_of(clean).into == "c"


def test_a_function_without_a_decorator_is_no_stage():
    with pytest.raises(ScriptError, match="is no stage"):
        stage_of(print)


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        ("@nm.wrangler(into='x')\nclass f: pass", "cannot be a stage"),
        ("@nm.wrangler(into='a$b')\ndef f(run): ...", "holds a dollar"),
        ("@nm.wrangler(into=5)\ndef f(run): ...", "is no name"),
        ("@nm.wrangler(into='x', key=5)\ndef f(run): ...", "key: 5 is not the name of a field"),
        ("@nm.learner('c', model='m', promote='latest')\ndef f(run): ...", "cannot be set"),
        ("@nm.learner('c', model='m', build=5)\ndef f(run): ...", "build=5 is no function"),
        ("@nm.predictor('m', into='p', part='nope')\ndef f(run, b): ...", "part='nope'"),
    ],
)
def test_a_wrong_declaration_is_told_when_the_script_is_loaded(tmp_path, declaration, said):
    with pytest.raises(ScriptError, match=said):
        load(tmp_path, f"import nemesyst as nm\n{declaration}\n")


def test_a_predictor_without_a_function_is_a_stage_by_the_name_that_the_script_gives_it(tmp_path):
    script = load(tmp_path, "import nemesyst as nm\nplain = nm.predictor('m@champion', into='p', part='test')\n")
    (stage,) = script.stages
    assert (stage.name, stage.kind, stage.into, stage.part) == ("plain", "infer", "p", "test")


def test_stages_of_a_module_that_a_script_imports_are_not_its_own(tmp_path):
    wrangler = "import nemesyst as nm\n\ndef made(name):\n    @nm.wrangler(into='rows')\n    def declared(run):\n        yield {}\n    declared.__name__ = name\n    return declared\n\n"
    (tmp_path / "rooms_beside.py").write_text(wrangler + "there = made('there')\n")
    (tmp_path / "main.py").write_text("from rooms_beside import made\n\nhere = made('here')\n")
    assert [stage.name for stage in load_script(tmp_path / "main.py").stages] == ["here"]

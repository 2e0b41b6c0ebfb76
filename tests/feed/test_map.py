"""A function on batches: what it is given, what it may return, and what its fingerprint covers."""

import functools
import json
import sys
from types import ModuleType

import numpy as np
import pytest

from nemesyst.errors import FeedError
from nemesyst.feed.augment import BatchMap
from nemesyst.feed.function_source import source_fingerprint

pytestmark = pytest.mark.core

BATCH = {"x": np.zeros((4, 2), np.float32), "y": np.arange(4)}
AT = {"seed": 7, "epoch": 1, "index": 3}


def noisy(batch, rng):
    return {**batch, "x": batch["x"] + rng.normal(size=batch["x"].shape).astype(np.float32)}


def applied(function, batch=BATCH, **at):
    return BatchMap(function).apply(batch, **{**AT, **at})


@pytest.mark.parametrize(
    "function",
    [noisy, lambda batch, *, rng: noisy(batch, rng), functools.partial(lambda scale, batch, rng: noisy(batch, rng), 2),
     lambda b, random, extra=0: noisy(b, random), lambda batch, noise=0.1, rng=None: noisy(batch, rng)],
    ids=["second", "keyword", "partial", "any name", "optional"],
)  # fmt: skip
def test_random_numbers_depend_on_seed_epoch_and_place_alone(function):
    same = applied(function)["x"]
    assert (same == applied(noisy)["x"]).all()
    for other in ({"seed": 8}, {"epoch": 2}, {"index": 4}):
        assert (same != applied(function, **other)["x"]).all()


def test_random_numbers_are_not_those_of_the_shuffle():
    shuffle = np.random.default_rng([7, 1, 3]).normal(size=(4, 2)).astype(np.float32)
    assert (applied(noisy)["x"] != shuffle).all()


def test_a_function_may_do_without_random_numbers():
    assert applied(lambda batch, by=2: {"x": batch["x"] + by})["x"].tolist() == [[2, 2]] * 4


def test_a_function_may_write_to_what_it_is_given():
    kept = np.zeros((6, 2))
    frozen = np.zeros((4, 2))
    frozen.flags.writeable = False

    def change(batch):
        for values in batch.values():
            np.add(values, 1, out=values)
        return batch

    made = applied(change, {"x": kept[1:5], "f": frozen})
    assert made["x"].sum() == made["f"].sum() == 8
    assert kept.sum() == 0


def test_results_are_contiguous_and_native():
    made = applied(lambda batch: {"x": batch["x"][:, ::-1], "big": batch["x"].astype(">f4"), "y": batch["y"]})
    assert all(each.flags.c_contiguous and each.dtype.isnative for each in made.values())
    assert made["big"].dtype == np.float32


def test_names_may_be_new():
    assert list(applied(lambda batch: {"image": batch["x"]})) == ["image"]


@pytest.mark.parametrize(
    ("result", "what"),
    [
        (None, "it returned None, not a dict"),
        ({}, "it returned an empty dict"),
        ([1], "it returned a list"),
        ({1: np.ones(4)}, "the name 1"),
        ({"#x": np.ones(4)}, "the name '#x'"),
        ({"x": [1, 2, 3, 4]}, "x is a list, not a NumPy array"),
        ({"x": np.ones((3, 2))}, r"x has the shape \(3, 2\), expected 4 rows"),
        ({"x": np.array(1.0)}, r"x has the shape \(\), expected 4 rows"),
    ],
)
def test_other_results_are_refused_with_the_function_and_the_batch(result, what):
    def change(_batch):
        return result

    with pytest.raises(FeedError, match=rf"map .*change, batch 3 of epoch 1: .*{what}"):
        applied(change)


def test_a_function_that_fails_is_named_with_its_line():
    def change(batch):
        return batch["z"]

    with pytest.raises(
        FeedError, match=r"map .*change, batch 3 of epoch 1: KeyError: 'z' \(in .*test_map.py, line \d+"
    ):
        applied(change)


@pytest.mark.parametrize("function", [lambda: 1, lambda a, b, c: a, lambda batch, *, device: batch, 3, "f"])
def test_what_cannot_be_called_with_a_batch_is_refused(function):
    with pytest.raises(FeedError, match="Feed: map=") as error:
        BatchMap(function)
    assert "def f(batch, rng)" in error.value.remedy


# fingerprints: the same text in different files, with different surroundings


def loaded(folder, text, name="f"):
    """A function of a script with this text."""
    folder.mkdir()
    path = folder / "script.py"
    path.write_text(text)
    module = ModuleType(f"script_{path.parent.name}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    exec(compile(text, str(path), "exec"), vars(module))
    return vars(module)[name]


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def digests(tmp_path, *texts):
    return [source_fingerprint(loaded(tmp_path / f"v{i}", text))["digest"] for i, text in enumerate(texts)]


PLAIN = "def f(batch):\n    return batch\n"


def test_a_fingerprint_is_of_the_text_wherever_it_stands(tmp_path):
    first, second, indented, other = digests(
        tmp_path, PLAIN, f"import json\nA = 1\n{PLAIN}", "if True:\n    def f(batch):\n        return batch\n",
        PLAIN.replace("return batch", "return dict(batch)"),
    )  # fmt: skip
    assert first == second == indented
    assert first != other


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A = 1\ndef f(b): return b * A\n", "A = 2\ndef f(b): return b * A\n"),
        ("A = [1, {'a': 2}]\ndef f(b): return [A for _ in b]\n", "A = [1, {'a': 3}]\ndef f(b): return [A for _ in b]\n"),
        ("def g(): return 1\ndef f(b): return g()\n", "def g(): return 2\ndef f(b): return g()\n"),
        ("def m(a):\n def f(b): return a\n return f\nf = m(1)\n", "def m(a):\n def f(b): return a\n return f\nf = m(2)\n"),
        ("A = 1\ndef f(b, a=A): return b\n", "A = 2\ndef f(b, a=A): return b\n"),
        ("A = 1\ndef f(b, *, a=A): return b\n", "A = 2\ndef f(b, *, a=A): return b\n"),
        ("import numpy as np\nA = np.ones(3)\ndef f(b): return A\n", "import numpy as np\nA = np.zeros(3)\ndef f(b): return A\n"),
        ("from functools import partial\ndef g(b, a): return b\nf = partial(g, a=1)\n",
         "from functools import partial\ndef g(b, a): return b\nf = partial(g, a=2)\n"),
        ("class C:\n def __init__(s, a): s.a = a\n def __call__(s, b): return b\nf = C(1)\n",
         "class C:\n def __init__(s, a): s.a = a\n def __call__(s, b): return b\nf = C(2)\n"),
        ("K = 1\nclass C:\n def m(s, b): return K\nf = C().m\n", "K = 2\nclass C:\n def m(s, b): return K\nf = C().m\n"),
        ("f = lambda b: b; g = 1\n", "f = lambda b: {**b}; g = 1\n"),
        ("import numpy\nf = numpy.flipud\n", "import numpy\nf = numpy.fliplr\n"),
        ("f = sorted\n", "f = list\n"),
    ],
    ids=["global", "in a comprehension", "helper", "closure", "default", "keyword default", "array", "partial",
         "object", "method", "lambda", "installed", "builtin"],
)  # fmt: skip
def test_what_a_function_brings_along_is_in_its_fingerprint(tmp_path, before, after):
    first, again, second = digests(tmp_path, before, before, after)
    assert first == again
    assert first != second


def test_a_decorated_function_brings_its_own_source_along(tmp_path):
    head = "import functools\ndef d(g):\n @functools.wraps(g)\n def w(b): return g(b)\n return w\n"
    first, second = digests(tmp_path, f"{head}@d\ndef f(b): return b\n", f"{head}@d\ndef f(b): return 1\n")
    assert first != second


def test_functions_that_call_each_other_have_a_fingerprint(tmp_path):
    text = "def f(b): return g(b)\ndef g(b): return f(b)\n"
    assert len(set(digests(tmp_path, text, text))) == 1


def test_dataclasses_have_a_fingerprint(tmp_path):
    text = "from dataclasses import dataclass\n@dataclass\nclass N:\n a: float = 0.1\n def f(self, b): return b\nf = N({}).f\n"
    first, second = digests(tmp_path, text.format("0.1"), text.format("0.2"))
    assert first != second


def test_lambdas_beside_each_other_are_told_apart():
    pair = [lambda b: {"x": b["x"]}, lambda b: next(filter(lambda c: c, [b]))]
    assert source_fingerprint(pair[0])["source"] == 'lambda b: {"x": b["x"]}'
    assert source_fingerprint(pair[1])["source"] == "lambda b: next(filter(lambda c: c, [b]))"


def test_a_fingerprint_is_json_with_name_and_source():
    found = BatchMap(functools.partial(noisy)).fingerprint
    assert json.loads(json.dumps(found)) == found
    assert found["name"].endswith("test_map.noisy")
    assert found["source"].startswith("def noisy(batch, rng):")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import numpy as np\nR = np.random.default_rng(0)\ndef f(b): return R\n", "R of .*f is a numpy.*Generator"),
        ("import threading\nL = threading.Lock()\ndef f(b, l=L): return b\n", "default -1 of .*f is a _thread.lock"),
    ],
)
def test_what_has_no_text_is_refused_by_name(tmp_path, text, what):
    with pytest.raises(FeedError, match=f"map: {what}") as error:
        digests(tmp_path, text)
    assert "def f(batch, rng)" in error.value.remedy


def test_a_function_without_a_file_is_refused():
    space = {}
    exec("def f(batch): return batch", space)
    with pytest.raises(FeedError, match="the source of .*f is not to be had"):
        source_fingerprint(space["f"])

"""Trees of state as bytes, and where random numbers are."""

import random
from collections import Counter, OrderedDict, deque

import numpy as np
import pytest

from nemesyst.errors import CorruptBlobError, ModelError
from nemesyst.frameworks import capture, random_states, restore_random_states, restored

pytestmark = pytest.mark.core


def there_and_back(tree):
    return restored(b"".join(capture(tree)))


@pytest.mark.parametrize(
    "tree",
    [
        None, True, 5, -(2**80), 1.5, float("inf"), "text", b"bytes\0", [], {}, (1, (2, [3])), {1: "a", "b": {(1, 2): None}},
        Counter({7: 2}), OrderedDict(z=1, a=2), deque([1, 2], maxlen=3),
    ],
)  # fmt: skip
def test_a_tree_comes_back_with_its_types(tree):
    found = there_and_back(tree)
    assert found == tree
    assert type(found) is type(tree)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "u1", "?"])
def test_arrays_and_their_scalars_come_back(dtype):
    values = np.array([[1, 0], [1, 1]], dtype)
    found = there_and_back({"a": values, "s": values[0, 0], "t": values.T})
    assert found["a"].dtype == values.dtype
    assert np.array_equal(found["a"], values)
    assert np.array_equal(found["t"], values.T)
    assert type(found["s"]) is type(values[0, 0])


def test_a_copy_does_not_change_with_the_tree():
    values, names = np.zeros(2), ["a"]
    taken = capture({"values": values, "names": names})
    values += 1
    names.append("b")
    found = restored(b"".join(taken))
    assert (found["values"].tolist(), found["names"]) == ([0, 0], ["a"])


def nested(depth):
    tree = []
    for _ in range(depth):
        tree = [tree]
    return tree


@pytest.mark.parametrize(
    ("tree", "said"),
    [
        ({"a": [1, object()]}, r"state/a/1 is a builtins\.object"),
        ({"a": np.array(["x"])}, "state/a has dtype <U1"),
        (nested(200), "is nested too deeply"),
    ],
)
def test_what_cannot_be_kept_is_named(tree, said):
    with pytest.raises(ModelError, match=said):
        capture(tree)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"".join(capture({"a": 1}))[:-3]])
def test_other_bytes_are_told(data):
    with pytest.raises(CorruptBlobError):
        restored(data)


def test_random_numbers_are_drawn_again():
    states = there_and_back(random_states())
    first = random.random(), random.gauss(0, 1), np.random.random()  # noqa: NPY002 - the global generator is meant
    restore_random_states(states)
    assert (random.random(), random.gauss(0, 1), np.random.random()) == first  # noqa: NPY002 - as above
    with pytest.raises(CorruptBlobError, match="no states of random numbers"):
        restore_random_states({"python": 5})

"""Trees of JAX arrays and modules of Flax NNX, stored and restored."""

from __future__ import annotations

import typing

import numpy as np
import pytest

from nemesyst.errors import CorruptBlobError, MismatchError, ModelError
from nemesyst.frameworks import adapter_for, adapter_named

jax = pytest.importorskip("jax", reason="needs the jax extra")
jnp = jax.numpy

ADAPTER = adapter_named("jax")


class Pair(typing.NamedTuple):
    one: object
    two: object


def dumped(model):
    return bytearray(b"".join(ADAPTER.dump(model)))


def names(model):
    return [name for name, _ in ADAPTER.weights(model)]


@pytest.fixture
def nnx():
    return pytest.importorskip("flax.nnx", reason="needs the flax extra")


def net(nnx, width=4, seed=0):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.parts = nnx.List([nnx.Linear(3, width, rngs=rngs), nnx.Linear(width, 2, rngs=rngs)])
            self.norm = nnx.BatchNorm(width, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, x):
            return self.parts[1](self.dropout(self.norm(self.parts[0](x))))

    return Net(nnx.Rngs(seed))


def test_which_trees_are_jaxs():
    arrays, tree = {"a": np.ones(1)}, {"a": {"b": jnp.ones(1)}}
    assert [adapter_for(each).name for each in (arrays, tree, [(jnp.ones(1),)], Pair(jnp.ones(1), None))] == [
        "arrays", "jax", "jax", "jax",
    ]  # fmt: skip
    assert adapter_for(jax.eval_shape(lambda: tree)).name == "jax"


def test_dicts_come_back_by_themselves_with_any_text_as_key():
    tree = {"mlp/~/linear_0": {"w": jnp.arange(6.0).reshape(2, 3)}, "a~1": {"": jnp.ones(1)}, "b": jnp.int32(3)}
    loaded = ADAPTER.load(dumped(tree))
    assert jax.tree.structure(loaded) == jax.tree.structure(tree)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, loaded, tree))


@pytest.mark.parametrize(
    "tree", [[jnp.ones(1)], {"a": (jnp.ones(1),)}, {"a": jnp.ones(1), "b": None}, {1: jnp.ones(1)}]
)
def test_another_structure_needs_one_like_it(tree):
    data = dumped(tree)
    with pytest.raises(ModelError, match="needs a structure to go into"):
        ADAPTER.load(data)
    assert jax.tree.structure(ADAPTER.load(data, tree)) == jax.tree.structure(tree)


def test_leaves_are_named_by_their_paths():
    assert names({"layers": [Pair(jnp.ones(1), {"k": jnp.ones(1)})]}) == ["layers/0/one", "layers/0/two/k"]


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "int8", "uint32", "bool", "complex64"]
)
def test_dtypes_are_kept(dtype):
    loaded = ADAPTER.load(dumped({"a": jnp.ones((2, 3), dtype)}))["a"]
    assert (loaded.dtype, loaded.shape, bool((loaded == 1).all())) == (jnp.dtype(dtype), (2, 3), True)


def test_shapes_alone_are_enough_to_load_into():
    tree = [jnp.arange(3), {"k": jax.random.key(7)}]
    loaded = ADAPTER.load(dumped(tree), jax.eval_shape(lambda: tree))
    assert loaded[0].tolist() == [0, 1, 2]
    assert jax.random.key_data(loaded[1]["k"]).tolist() == jax.random.key_data(tree[1]["k"]).tolist()


def test_the_tree_to_load_into_stays_as_it_is_and_numpy_stays_numpy():
    into = [jnp.zeros(2), np.zeros(2, np.float32)]
    loaded = ADAPTER.load(dumped([jnp.ones(2), np.ones(2, np.float32)]), into)
    assert isinstance(loaded[1], np.ndarray)
    assert (loaded[0].tolist(), loaded[1].tolist(), into[0].tolist(), into[1].tolist()) == (
        [1, 1],
        [1, 1],
        [0, 0],
        [0, 0],
    )


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_random_keys_go_on_with_the_same_numbers(kind):
    key = jax.random.split(jax.random.key(3, impl=kind))
    loaded = ADAPTER.load(dumped({"k": key}))["k"]
    assert jax.random.normal(loaded[1]) == jax.random.normal(key[1])


def test_a_key_does_not_load_as_numbers():
    with pytest.raises(MismatchError, match="k: stored threefry2x32, in the model no random key"):
        ADAPTER.load(dumped({"k": jax.random.key(0)}), {"k": jnp.zeros(2, jnp.uint32)})


@pytest.mark.parametrize(("old", "new"), [(b"threefry2x32", b"threefry9x99"), (b'\\"k\\": ', b'\\"q\\": ')])
def test_a_list_of_keys_that_does_not_fit_is_refused(old, new):
    with pytest.raises(CorruptBlobError, match="random keys"):
        ADAPTER.load(dumped({"k": jax.random.key(0)}).replace(old, new))


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        ({"a": jnp.ones(1), "lr": 0.1}, "lr is a float, not an array"),
        ({"a": {"1": jnp.ones(1), 1: jnp.ones(1)}}, "JAX cannot walk through this dict"),
        ([jnp.ones(1), {"a/b": jnp.ones(1)}, {"__metadata__": 1}], "is a int, not an array"),
        ({"a": jnp.ones(1, jnp.int4)}, "a has dtype int4"),
        ({"a": jax.ShapeDtypeStruct((1,), "float32")}, "a is a shape without values"),
    ],
)  # fmt: skip
def test_what_cannot_be_stored_is_named(tree, text):
    with pytest.raises(ModelError, match=text):
        dumped(tree)


def test_a_donated_array_is_named():
    array = jnp.ones(3)
    array.delete()
    with pytest.raises(ModelError, match="a has been donated"):
        dumped({"a": array})


def test_a_mismatch_names_the_leaf_with_both_shapes():
    with pytest.raises(MismatchError, match=r"a/b: stored F32 \[2\], in the model F32 \[3\]"):
        ADAPTER.load(dumped({"a": {"b": jnp.ones(2)}}), {"a": {"b": jnp.ones(3)}})


def test_64_bits_are_not_cut():
    data = dumped({"a": np.ones(2), "b": jnp.ones(1)})
    with pytest.raises(ModelError, match=r"a is F64 \[2\], of which JAX would keep 32 bits"):
        ADAPTER.load(data)
    with jax.enable_x64(True):  # noqa: FBT003 - JAX's own
        assert ADAPTER.load(data)["a"].dtype == jnp.float64


def test_a_module_comes_back_with_statistics_and_random_counts(nnx):
    one, other = net(nnx), net(nnx, seed=1)
    one.train()
    one(np.random.default_rng(0).normal(size=(8, 3)).astype("f4"))
    assert ADAPTER.load(dumped(one), other) is other
    assert dumped(one) == dumped(other)
    assert names(one)[:3] == ["dropout/rngs/count", "dropout/rngs/key", "norm/bias"]
    other.train()
    inputs = np.ones((4, 3), "f4")
    assert jnp.array_equal(one(inputs), other(inputs))  # dropout too


def test_a_module_of_another_width_is_refused_and_unchanged(nnx):
    into = net(nnx, width=5)
    before = dumped(into)
    with pytest.raises(MismatchError, match=r"norm/bias: stored F32 \[4\], in the model F32 \[5\]"):
        ADAPTER.load(dumped(net(nnx)), into)
    assert dumped(into) == before


def test_predicting_is_in_evaluation_mode_and_leaves_the_mode_alone(nnx):
    module = net(nnx)
    module.train()
    output = ADAPTER.predict(module, np.ones((4, 3)))
    assert np.array_equal(output[0], output[1])
    assert not module.dropout.deterministic
    assert output.dtype == np.float32


def test_a_module_of_bfloat16_gives_float32(nnx):
    module = nnx.Linear(3, 2, param_dtype=jnp.bfloat16, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    assert ADAPTER.predict(module, np.ones((4, 3), "f4")).dtype == np.float32


def test_predict_takes_several_inputs_by_name_and_code_that_looks_at_values(nnx):
    class Two(nnx.Module):
        def __init__(self):
            self.scale = nnx.Param(jnp.float32(2))

        def __call__(self, seq, static):
            return seq.sum(1) * self.scale[...] if float(seq.sum()) > 0 else static

    assert ADAPTER.predict(Two(), {"seq": np.ones((2, 3)), "static": np.zeros(2)}).tolist() == [6, 6]


def test_a_tree_predicts_nothing_and_a_tuple_is_no_output(nnx):
    with pytest.raises(ModelError, match="no output of its own"):
        ADAPTER.predict({"a": jnp.ones(1)}, np.ones(1))

    class Odd(nnx.Module):
        def __call__(self, x):
            return x, x

    with pytest.raises(ModelError, match="Odd returns a tuple"):
        ADAPTER.predict(Odd(), np.ones((1, 1), "f4"))


def test_what_a_build_function_made_is_in_evaluation_mode(nnx):
    assert ADAPTER.ready(net(nnx)).dropout.deterministic


def test_a_state_of_optax_comes_back_in_its_own_structure():
    optax = pytest.importorskip("optax")
    parameters = {"w": jnp.ones(3)}
    make = optax.chain(optax.clip(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 10)))
    _, state = make.update({"w": jnp.ones(3)}, make.init(parameters), parameters)
    data = b"".join(ADAPTER.dump_optimizer(parameters, state))
    loaded = ADAPTER.load_optimizer(data, parameters, make.init(parameters))
    assert jax.tree.structure(loaded) == jax.tree.structure(state)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, loaded, state))
    with pytest.raises(ModelError, match="needs one like it"):
        ADAPTER.load_optimizer(data, parameters, None)


def test_devices_by_name():
    assert ADAPTER.place({"a": np.ones(1, "f4")}, "cpu:0")["a"].device.platform == "cpu"
    with pytest.raises(ModelError, match="device='tpu': there is none; this machine has"):
        ADAPTER.place({"a": jnp.ones(1)}, "tpu")

"""The conformance suite of adapters."""

from __future__ import annotations

import mmap
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np

from nemesyst.checks.case import Case, CheckError, joined, read_only, require, rows_of, told, wide
from nemesyst.checks.hostile import HOSTILE
from nemesyst.checks.training import goes_on_training
from nemesyst.errors import MismatchError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from nemesyst.checks.case import Inputs
    from nemesyst.frameworks import Adapter


def check_adapter(
    adapter: Adapter,
    make: Callable[[], Any],
    *,
    inputs: Inputs | None,
    other: Callable[[], Any] | None = None,
    train: Callable[[Any, Any], tuple[Any, Any]] | None = None,
    optimizer: Callable[[Any], Any] | None = None,
    needs_target: bool | None = None,
    trust: Collection[str] = (),
) -> list[str]:
    """Run every check of the contract of :class:`nemesyst.frameworks.Adapter` over an adapter.

    Args:
        adapter: What is checked.
        make: Makes a model, trained or not; each call the same structure, not necessarily the same weights.
        inputs: A batch for ``predict``: an array or arrays by name; None for models without an output.
        other: Makes a model into which those of ``make`` must not load: of another shape.
        train: ``train(model, optimizer)`` trains a few steps, always the same ones, and gives both; in place or not.
        optimizer: Makes the optimiser (or its first state) of a model; None where the framework keeps none.
        needs_target: Whether these models need one to load into, where that depends on the model; None: as the adapter
            says.
        trust: Types that loading a model of ``make`` needs.

    Returns:
        The names of the checks that were made.

    Raises:
        CheckError: A check failed; names it.
    """
    needed = adapter.needs_target if needs_target is None else needs_target
    case = Case(adapter, make, inputs, other, train, optimizer, needed, tuple(trust))
    done = []
    for check in _CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            check(case)
        except CheckError as error:
            raise CheckError(f"adapter {adapter.name}: {name}: {error}") from error
        except Exception as error:
            raise CheckError(f"adapter {adapter.name}: {name}: raised {type(error).__name__}: {error}") from error
        done.append(name)
    return done


def has_names(case: Case) -> None:
    """Its own, those of its classes, and its framework's version."""
    adapter = case.adapter
    require(isinstance(adapter.name, str) and adapter.name, "it has no name")
    require(adapter.roots and all("." in root for root in adapter.roots), "roots are no full names of classes")
    require(adapter.recognises(case.make()), "it does not recognise its own model")
    for stranger in (object(), "text", None, 3):
        require(not adapter.recognises(stranger), f"it takes {stranger!r} for one of its models")
    require(isinstance(adapter.version(), str) and adapter.version(), "it has no version")


def imports_nothing_for_the_lookup(case: Case) -> None:
    """A process pays only for the frameworks that it uses."""
    kind = type(case.adapter)
    if kind.__module__ == "__main__":
        return
    own = kind.__module__.partition(".")[0]
    roots = sorted({root.partition(".")[0] for root in case.adapter.roots} - {"builtins", own})
    program = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        f"from {kind.__module__} import {kind.__name__} as Kind\n"
        "Kind().recognises(object()); Kind().recognises({})\n"
        f"print([root for root in {roots!r} if root in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    require(done.stdout.strip() == "[]", f"looking it up imports {done.stdout.strip() or done.stderr}")


def comes_back(case: Case) -> None:
    """Every leaf bit for bit, of the same dtype and shape, and the same predictions."""
    model = case.make()
    data, leaves = case.dump(model), dict(case.adapter.weights(model))
    loaded = case.load(data, case.target())
    back = dict(case.adapter.weights(loaded))
    require(back.keys() == leaves.keys(), f"leaves {sorted(leaves)} came back as {sorted(back)}")
    for name, array in leaves.items():
        require(isinstance(array, np.ndarray), f"the leaf {name} is a {type(array).__name__}")
        require(told(array) == told(back[name]), f"the leaf {name} came back with other bits, shape or dtype")
    if case.inputs is not None:
        pair = case.adapter.predict(model, case.inputs), case.adapter.predict(loaded, case.inputs)
        require(told(pair[0]) == told(pair[1]), "the loaded model predicts something else")


def gives_the_same_bytes(case: Case) -> None:
    """Equal content is stored once."""
    model = case.make()
    data = case.dump(model)
    require(data == case.dump(model), "the second dump of one model differs from the first")
    require(
        data == case.dump(case.load(data, case.target())), "the dump of a loaded model differs from what was loaded"
    )


def needs_a_target_or_not(case: Case) -> None:
    """As ``needs_target`` says."""
    data = case.dump(case.make())
    if not case.needs_target:
        require(case.load(data) is not None, "load gave nothing")
        return
    try:
        case.load(data)
    except ModelError:
        return
    raise CheckError("needs_target, but it loads without one")


def keeps_no_view_of_the_file(case: Case) -> None:
    """A mapping whose bytes are still referred to cannot be closed."""
    data = case.dump(case.make())
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        loaded = case.load(memoryview(mapped), case.make())
        try:
            mapped.close()
        except BufferError:
            raise CheckError("a model that was loaded into another keeps views of the file") from None
    require(case.dump(loaded) == data, "a model loaded from a mapped file is another one")


def refuses_another_shape(case: Case) -> None:
    """With an error that says what differs, and nothing is changed."""
    if case.other is None:
        return
    into = case.other()
    before = case.state(into)
    try:
        case.load(case.dump(case.make()), into)
    except MismatchError as error:
        require(error.remedy, "the error says nothing about what to do")
    else:
        raise CheckError("it loads into a model of another shape")
    require(case.state(into) == before, "a refused load changed the model")


def predicts(case: Case) -> None:
    """A row for a row, always the same, and neither the model nor its inputs change."""
    if case.inputs is None:
        return
    model, adapter = case.make(), case.adapter
    before, given = case.state(model), read_only(case.inputs)
    output, rows = adapter.predict(model, given), rows_of(given)
    require(isinstance(output, np.ndarray), f"the output is a {type(output).__name__}")
    require(output.dtype.kind in "biufcOU", f"the output has dtype {output.dtype}")
    require(len(output) == rows, f"{rows} rows of inputs gave {len(output)} of outputs")
    require(told(adapter.predict(model, given)) == told(output), "the same inputs give something else")
    require(case.state(model) == before, "predicting changed the model")
    require(len(adapter.predict(model, wide(given))) == rows, "inputs of float64 are not taken")


def knows_devices(case: Case) -> None:
    """``"cpu"`` is always there; one that is not is refused."""
    model = case.make()
    before = case.state(model)
    require(case.state(case.adapter.place(model, "cpu")) == before, "placing it on the CPU changed it")
    for device in ("gpu:9999", "nowhere"):
        try:
            case.adapter.place(case.make(), device)
        except ModelError:
            continue
        raise CheckError(f"it can be placed on {device!r}")


def takes_its_pieces_one_by_one(case: Case) -> None:
    """``dump`` may be called again while another one goes on."""
    model = case.make()
    one, other = iter(case.adapter.dump(model)), iter(case.adapter.dump(model))
    first = bytes(next(one))
    require(first + joined(one) == joined(other), "two dumps at once disturb each other")


_CHECKS: list[Callable[[Case], None]] = [
    has_names,
    imports_nothing_for_the_lookup,
    comes_back,
    gives_the_same_bytes,
    takes_its_pieces_one_by_one,
    needs_a_target_or_not,
    keeps_no_view_of_the_file,
    refuses_another_shape,
    *HOSTILE,
    predicts,
    knows_devices,
    goes_on_training,
]

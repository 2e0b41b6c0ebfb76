"""Where the generators of random numbers of this process are: to be kept with a checkpoint, and put back."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np

from nemesyst.errors import CorruptBlobError


def random_states() -> dict[str, Any]:
    """States of the generators of Python, NumPy, and the frameworks that the process uses already; imports none.

    A tree for :func:`nemesyst.frameworks.capture`. Of PyTorch those of the CPU and of the GPUs that are in use; of
    Keras and TensorFlow the global ones. JAX has none: its keys are values of the user's own.
    """
    version, numbers, gauss = random.getstate()
    states: dict[str, Any] = {
        "python": [version, np.array(numbers, np.uint32), gauss],
        "numpy": list(np.random.get_state()),  # noqa: NPY002 - the global generator is what is to be kept
    }
    if (torch := sys.modules.get("torch")) is not None:
        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            states["cuda"] = torch.cuda.get_rng_state_all()
    if (ops := _tensorflow_seeds()) is not None:
        version, numbers, gauss = ops.getstate()
        states["tensorflow"] = [version, np.array(numbers, np.uint32), gauss]
    if (seed := _keras_seed()) is not None:
        states["keras"] = np.asarray(sys.modules["keras"].ops.convert_to_numpy(seed.state))
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Put back what :func:`random_states` gave; of a framework that the process does not use, nothing.

    Raises:
        CorruptBlobError: It is something else.
    """
    try:
        _restore(states)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CorruptBlobError(f"no states of random numbers: {type(error).__name__} {error}") from None


def _restore(states: dict[str, Any]) -> None:
    random.setstate(_of_python(states["python"]))
    np.random.set_state(tuple(states["numpy"]))  # noqa: NPY002 - the global generator
    if "torch" in states and (torch := sys.modules.get("torch")) is not None:
        torch.set_rng_state(states["torch"])
        if "cuda" in states and torch.cuda.is_available():
            for number, state in enumerate(states["cuda"][: torch.cuda.device_count()]):
                torch.cuda.set_rng_state(state, number)
    if "tensorflow" in states and (ops := _tensorflow_seeds()) is not None:
        ops.setstate(_of_python(states["tensorflow"]))
    if "keras" in states and (seed := _keras_seed(make=True)) is not None:
        seed.state.assign(states["keras"])


def _of_python(state: list[Any]) -> tuple[Any, ...]:
    return state[0], tuple(state[1].tolist()), state[2]


def _tensorflow_seeds() -> random.Random | None:
    """The generator that TensorFlow draws the seeds of its operations from, once a seed was set."""
    context = sys.modules.get("tensorflow.python.eager.context")
    found = getattr(context.context(), "_rng", None) if context is not None else None
    return found if isinstance(found, random.Random) else None


def _keras_seed(*, make: bool = False) -> Any:
    """Keras' global generator of seeds; None where it has drawn nothing yet, unless it is to be made."""
    if "keras" not in sys.modules:
        return None
    try:
        from keras.src.backend.common import global_state
        from keras.src.random import seed_generator
    except ImportError:  # a newer Keras keeps it elsewhere
        return None
    if make:
        return seed_generator.global_seed_generator()
    return global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)

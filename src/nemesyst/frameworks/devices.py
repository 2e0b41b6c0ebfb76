"""Names of devices, one grammar for every framework."""

from __future__ import annotations

import re

from nemesyst.errors import ModelError

_GRAMMAR = re.compile(r"(cpu|gpu|cuda|tpu|mps|xpu)(?::([0-9]{1,4}))?")


def parse_device(device: object) -> tuple[str, int | None]:
    """Kind and number of a device; ``cuda`` is ``gpu``.

    >>> parse_device("gpu:1"), parse_device("cpu")
    (('gpu', 1), ('cpu', None))

    Raises:
        ModelError: It does not follow the grammar.
    """
    found = _GRAMMAR.fullmatch(device) if isinstance(device, str) else None
    if found is None:
        raise ModelError(f"device={device!r}: not the name of a device", "Write cpu, gpu, or gpu:1 for the second one.")
    kind, number = found.groups()
    return "gpu" if kind == "cuda" else kind, None if number is None else int(number)


def no_device(device: str, there: list[str]) -> ModelError:
    """What to raise when a machine has no such device."""
    return ModelError(f"device={device!r}: there is none; this machine has {', '.join(there)}", "Give one of these.")

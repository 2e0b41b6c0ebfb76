"""Other forms of a model, stored beside the native one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemesyst.errors import ModelError, SettingsError
from nemesyst.frameworks import check_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from nemesyst.frameworks import Adapter

FORMS = ("onnx",)


def check_form(form: object) -> str:
    """Check the name of a form.

    Raises:
        SettingsError: There is no such form.
    """
    if form not in FORMS:
        raise SettingsError(f"{form!r} is no form of a model", f"There is {', '.join(FORMS)}.")
    return str(form)


def made(form: str, adapter: Adapter, model: Any, batch: Mapping[str, np.ndarray[Any, Any]] | None) -> bytes:
    """A model in another form, which gives the same outputs.

    Args:
        form: ``"onnx"``.
        adapter: The model's.
        model: The model.
        batch: Its golden batch.

    Raises:
        ModelError: There is no golden batch, the framework has no such form, or its outputs are others.
    """
    check_form(form)
    if batch is None:
        raise ModelError(
            f"also={form!r} needs a few inputs to trace the model with and to compare the outputs on",
            "Give golden=a few rows of inputs, or feed=the feed that it learned from.",
        )
    inputs = {name.removeprefix("input/"): values for name, values in batch.items() if name.startswith("input/")}
    given = inputs or batch["input"]
    data = adapter.to_onnx(model, given)
    check_onnx(batch["output"], data, given, adapter.tolerance)
    return data

"""Whether an ONNX file gives the outputs of the model that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nemesyst.errors import ModelError
from nemesyst.frameworks.onnx_model import OnnxModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemesyst.frameworks.base import Array

    Inputs = Array | Mapping[str, Array]

_REMEDY = "Save without also='onnx'; where the model works in float64, try float32."


def check_onnx(outputs: Array, data: bytes, inputs: Inputs, tolerance: float) -> None:
    """Raise unless an ONNX file gives the model's outputs.

    Args:
        outputs: What the model gave for ``inputs``; rows first.
        data: The file.
        inputs: The same batch; its first row is also run alone.
        tolerance: Relative to the largest output (and to 1): how much they may differ; labels may not at all.

    Raises:
        ModelError: They differ; names the largest difference and its place.
    """
    try:
        model = OnnxModel(data, trust=None)
    except ModelError as error:
        raise ModelError(f"the ONNX form does not run: {error.message}", _REMEDY) from error
    for rows in (None, 1):
        some = {name: each[:rows] for name, each in inputs.items()} if hasattr(inputs, "items") else inputs[:rows]
        try:
            found = next(iter(model.run(some).values()))
        except ModelError as error:
            number = len(outputs) if rows is None else rows
            raise ModelError(f"the ONNX form does not run on {number} rows: {error.message}", _REMEDY) from error
        _compare(np.asarray(outputs)[:rows], np.asarray(found), tolerance)


def _compare(expected: Array, found: Array, tolerance: float) -> None:
    if found.shape != expected.shape:
        raise ModelError(f"the ONNX form gives shape {found.shape}, the model {expected.shape}", _REMEDY)
    if not expected.size:
        return
    if expected.dtype.kind not in "fc" or found.dtype.kind not in "fc":
        differs = (expected != found).astype(np.float64)
        limit = 0.0
    else:
        both = np.isnan(expected) & np.isnan(found) | (expected == found)
        differs = np.where(both, 0.0, np.abs(expected.astype(np.float64) - found))
        resolution = 8 * float(np.finfo(expected.dtype).eps)  # which decides for float16
        finite = np.abs(expected[np.isfinite(expected)]).astype(np.float64)
        limit = max(tolerance, resolution) * float(finite.max(initial=1.0))
    worst = np.unravel_index(np.argmax(np.where(np.isnan(differs), np.inf, differs)), differs.shape)
    if not differs[worst] <= limit:
        place = [int(each) for each in worst]
        raise ModelError(
            f"the ONNX form gives other outputs: at {place} {found[worst]}, the model {expected[worst]}; they may "
            f"differ by {limit:.3g}",
            _REMEDY,
        )

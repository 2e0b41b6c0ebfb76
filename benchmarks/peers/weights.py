"""40 MB of PyTorch weights, saved and loaded: MLflow on local files, plain GridFS."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from answering import answer

if TYPE_CHECKING:
    from collections.abc import Callable


def make(what: dict[str, Any]) -> Callable[[], object]:
    width, layers = what["shape"]
    net = torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(layers)])
    return {"mlflow": mlflow, "gridfs": gridfs}[what["library"]](net, what)


def mlflow(net: Any, what: dict[str, Any]) -> Callable[[], object]:
    import mlflow.pytorch as flow  # type: ignore[import-not-found,unused-ignore]

    folder = Path(tempfile.mkdtemp(dir=what["folder"])) / "model"

    def save() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        flow.save_model(net, str(folder), serialization_format="pickle", pip_requirements=["torch"])

    save()
    return save if what["doing"] == "save" else lambda: flow.load_model(str(folder))  # type: ignore[no-untyped-call]


def gridfs(net: Any, what: dict[str, Any]) -> Callable[[], object]:
    import io

    import gridfs as driver
    import pymongo

    client: Any = pymongo.MongoClient(what["address"], w="majority", journal=True)
    files = driver.GridFS(client[what["database"]])

    def save() -> object:
        data = io.BytesIO()
        torch.save(net.state_dict(), data)
        return files.put(data.getvalue())

    known = save()

    def load() -> None:
        net.load_state_dict(torch.load(io.BytesIO(files.get(known).read()), weights_only=True))

    return save if what["doing"] == "save" else load


if __name__ == "__main__":
    answer(make)

"""Shuffled batches of image rows from files that the rows were converted to: LitData, Lance, MosaicML Streaming."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from answering import answer

if TYPE_CHECKING:
    from collections.abc import Callable


def make(what: dict[str, Any]) -> Callable[[], object]:
    images = np.load(what["images"])
    folder = Path(tempfile.mkdtemp(dir=what["folder"]))
    return {"litdata": litdata, "lance": lance, "mosaic": mosaic}[what["library"]](images, folder, what["batch"])


def litdata(images: Any, folder: Path, batch: int) -> Callable[[], object]:
    import litdata as ld  # type: ignore[import-not-found,unused-ignore]
    from litdata.streaming.writer import BinaryWriter  # type: ignore[import-not-found,unused-ignore]

    writer = BinaryWriter(str(folder), chunk_bytes="64MB")
    for number, image in enumerate(images):
        writer[number] = {"image": image, "label": number % 10}
    writer.done()
    writer.merge()
    rows = ld.StreamingDataset(str(folder), shuffle=True)
    loader = ld.StreamingDataLoader(rows, batch_size=batch, num_workers=0)
    return lambda: sum(len(each["label"]) for each in loader)


def lance(images: Any, folder: Path, batch: int) -> Callable[[], object]:
    import lance as lc  # type: ignore[import-not-found,unused-ignore]
    import pyarrow as pa  # type: ignore[import-not-found,unused-ignore]

    flat = pa.FixedSizeListArray.from_arrays(pa.array(images.reshape(-1)), images[0].size)
    table = pa.table({"image": flat, "label": pa.array(np.arange(len(images)) % 10)})
    rows = lc.write_dataset(table, str(folder / "rows.lance"))

    def work() -> None:
        order = np.random.default_rng(0).permutation(len(images))
        for begin in range(0, len(order), batch):
            found = rows.take(order[begin : begin + batch])
            found["image"].combine_chunks().flatten().to_numpy()

    return work


def mosaic(images: Any, folder: Path, batch: int) -> Callable[[], object]:
    from streaming import MDSWriter, StreamingDataset  # type: ignore[import-not-found,unused-ignore]
    from torch.utils.data import DataLoader

    with MDSWriter(out=str(folder), columns={"image": "ndarray", "label": "int"}) as out:
        for number, image in enumerate(images):
            out.write({"image": image, "label": number % 10})
    rows: Any = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch)
    loader: Any = DataLoader(rows, batch_size=batch)
    return lambda: sum(len(each["label"]) for each in loader)


if __name__ == "__main__":
    answer(make)

"""Later epochs: shuffled batches of 256 image rows out of the cache, beside other loaders and a memory-mapped gather.

    python benchmarks/feed_epochs.py --images 60000 --rounds 7 [--address mongodb://...]

Images of 28 x 28 uint8 with a label, MNIST's if ``NEMESYST_DATA`` names a folder that has them. The peers' files are
made of the same rows before.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from measuring import Peer, Target, Way, arguments, interleaved, place, show, timed

BATCH = 256
PEERS = {"Lance take": "lance", "LitData": "litdata", "MosaicML Streaming": "mosaic"}


def pictures(count: int) -> tuple[Any, Any]:
    """Images, shape (count, 28, 28) uint8, and labels, int64."""
    path = Path(os.environ.get("NEMESYST_DATA", ""), "mnist", "mnist.npz")
    if path.is_file():
        with np.load(path) as files:
            images, labels = files["x_train"], files["y_train"].astype(np.int64)
        times = -(-count // len(images))
        return np.tile(images, (times, 1, 1))[:count], np.tile(labels, times)[:count]
    images = np.random.default_rng(0).integers(0, 255, (count, 28, 28), "uint8")
    return images, np.arange(count) % 10


def gather(images: Any, labels: Any) -> int:
    """The ceiling: rows of a memory map in a random order."""
    order = np.random.default_rng(0).permutation(len(images))
    seen = 0
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        seen += len(images.take(rows, axis=0)) + 0 * len(labels.take(rows))
    return seen


def loader(images: Any, labels: Any) -> Any:
    """PyTorch's loader over tensors in memory; None if it is not installed."""
    try:
        import torch
        from torch.utils.data import DataLoader, TensorDataset
    except ImportError:
        return lambda: None
    rows = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    batches: Any = DataLoader(rows, batch_size=BATCH, shuffle=True)
    return timed(lambda: sum(len(y) for _, y in batches))


def main() -> None:
    given = arguments(__doc__, images=60_000)
    count = given.images
    images, labels = pictures(count)
    with place(given.address) as here, ExitStack() as running:
        here.hub.put("images", ({"image": images[i], "label": int(labels[i])} for i in range(count)))
        for name, values in (("images", images), ("labels", labels)):
            np.save(here.folder / f"{name}.npy", values)
        mapped = [np.load(here.folder / f"{name}.npy", mmap_mode="r") for name in ("images", "labels")]
        feed = here.hub.feed("images", inputs="image", targets="label", batch_size=BATCH, shuffle=True)
        for _ in feed:
            pass
        what = {"images": str(here.folder / "images.npy"), "folder": str(here.folder), "batch": BATCH}
        others = [
            Way(name, count, running.enter_context(Peer("samples", library=library, **what)))
            for name, library in PEERS.items()
        ]
        ways = [
            Way("memory-mapped gather (the ceiling)", count, timed(lambda: gather(*mapped))),
            Way("ours", count, timed(lambda: sum(len(batch["y"]) for batch in feed))),
            Way("torch DataLoader, in memory", count, loader(images, labels)),
            *others,
        ]
        targets = [
            Target("ours", "memory-mapped gather (the ceiling)", 0.6),
            Target("ours", "LitData", 10),
            Target("ours", "Lance take", 10),
            Target("ours", "torch DataLoader, in memory", 3),
        ]
        show(f"second epoch, shuffled batches of {BATCH} images", ways, interleaved(ways, given.rounds), targets)


if __name__ == "__main__":
    main()

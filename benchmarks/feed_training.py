"""Training MNIST's small CNN: later epochs out of a feed, beside the loop over tensors in memory.

NEMESYST_DATA=... python benchmarks/feed_training.py --images 20000 --rounds 5 [--address mongodb://...]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from feed_epochs import pictures
from measuring import Target, Way, arguments, interleaved, place, show, timed
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]

BATCH = 64


def make_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 10),
    )


def train(net: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches) -> None:
    """One epoch."""
    for x, y in batches:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x.unsqueeze(1).float() / 255), y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def of_memory(images: torch.Tensor, labels: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Shuffled batches of tensors, as one would write it."""
    order = torch.randperm(len(images))
    for begin in range(0, len(order), BATCH):
        rows = order[begin : begin + BATCH]
        yield images[rows], labels[rows]


def of_feed(batches: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for batch in batches:
        yield batch["x"], batch["y"]


def main() -> None:
    given = arguments(__doc__, images=20_000)
    images, labels = pictures(given.images)
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    with place(given.address) as here:
        here.hub.put("images", ({"image": images[i], "label": int(labels[i])} for i in range(given.images)))
        feed = here.hub.feed("images", inputs="image", targets="label", batch_size=BATCH, shuffle=True)
        torch.manual_seed(0)
        net = make_net()
        optimizer = torch.optim.Adam(net.parameters())
        batches = feed.to_torch()
        ways = [
            Way("tensors in memory", given.images, timed(lambda: train(net, optimizer, of_memory(x, y)))),
            Way("feed, later epochs", given.images, timed(lambda: train(net, optimizer, of_feed(batches)))),
        ]
        for _ in feed:  # the first epoch, which fills the cache
            pass
        rates = interleaved(ways, given.rounds)
        show("training, images", ways, rates, [Target("feed, later epochs", "tensors in memory", 1 / 1.03)])


if __name__ == "__main__":
    main()

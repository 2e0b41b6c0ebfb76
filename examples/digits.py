"""Handwritten digits: wrangle, learn and infer, in one file.

Real data: scikit-learn's bundled digits (1,797 images of 8 x 8, from the UCI repository), or with
NEMESYST_DATA set to a folder that holds mnist/mnist.npz, MNIST (60,000 + 10,000 images of 28 x 28).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import nemesyst as nm

MNIST = Path(os.environ["NEMESYST_DATA"], "mnist", "mnist.npz") if os.environ.get("NEMESYST_DATA") else None
NAME = "mnist" if MNIST else "digits"
SIZE = 28 if MNIST else 8
WIDTH = 16 if MNIST else 32


def make_net(size: int = SIZE, width: int = WIDTH) -> nn.Module:
    """A small convolutional network for images of (rows, size, size) uint8; gives (rows, 10) scores."""
    pooled = size // 4
    return nn.Sequential(
        Scale(16.0 if size == 8 else 255.0),
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(2 * width * pooled * pooled, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


class Scale(nn.Module):
    """Grey values to 0..1, as one channel."""

    def __init__(self, top: float) -> None:
        super().__init__()
        self.top = top

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(rows, size, size) uint8 to (rows, 1, size, size) float32."""
        return (images.float() / self.top).unsqueeze(1)


@nm.wrangler(into=NAME, key="index")
def wrangle(_run: nm.Run) -> Iterator[dict[str, Any]]:
    """Yield one record per image; the key makes a second run change nothing."""
    if MNIST:
        with np.load(MNIST) as files:
            images = np.concatenate([files["x_train"], files["x_test"]])
            labels = np.concatenate([files["y_train"], files["y_test"]])
            parts = ["train"] * len(files["x_train"]) + ["test"] * len(files["x_test"])
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images, labels = digits.images.astype(np.uint8), digits.target
        parts = ["train"] * len(images)  # divided by the feed's split
    for index, (image, label, part) in enumerate(zip(images, labels, parts, strict=True)):
        yield {"index": index, "image": image, "label": int(label), "part": part}


FEED = nm.Feed(
    NAME,
    inputs="image",
    targets="label",
    split=nm.Split(field="part", validation=0.1, test=0.0 if MNIST else 0.2),
    batch_size=64,
    shuffle=True,
)


@nm.learner(FEED, model=f"{NAME}-cnn", promote="champion", build=make_net)
def learn(run: nm.Run, size: int = SIZE, width: int = WIDTH, epochs: int = 4 if MNIST else 20) -> nm.Trained:
    """Train with Adam under a falling rate; tell the loss, and the accuracy on the validation part."""
    torch.manual_seed(run.seed)
    net = make_net(size, width).to(run.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    accuracy = 0.0
    for _ in run.epochs(epochs):
        net.train()
        for batch in run.feed.train.to_torch(run.device):
            loss = nn.functional.cross_entropy(net(batch["x"]), batch["y"])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            run.log({"loss": loss.detach(), "accuracy": accuracy})
        schedule.step()
        accuracy = right_share(net, run.feed.validation, run.device)
        run.log({"loss": loss.detach(), "accuracy": accuracy})
    return nm.Trained(net, metrics={"accuracy/validation": accuracy})


def right_share(net: nn.Module, feed: nm.BoundFeed, device: str) -> float:
    """Share of rows whose highest score is the label's."""
    net.eval()
    with torch.no_grad():
        hits = [net(batch["x"]).argmax(1) == batch["y"] for batch in feed.to_torch(device)]
    return float(torch.cat(hits).float().mean())


@nm.predictor(f"{NAME}-cnn@champion", into=f"{NAME}-predictions", part="test", build=make_net)
def infer(run: nm.Run, batch: nm.Batch) -> nm.Batch:
    """The label with the highest score, and how sure the model is of it."""
    scores = torch.from_numpy(run.predict(batch)).softmax(1).numpy()
    return {"label": scores.argmax(1), "confidence": scores.max(1)}

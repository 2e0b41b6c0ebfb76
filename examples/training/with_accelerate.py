"""Hugging Face Accelerate: its loop inside of a learner. Run it: nemesyst run with_accelerate.py."""

from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from readings import FEED, rows
from torch.utils.data import DataLoader

import nemesyst as nm


def make_net(hidden: int = 16) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))


@nm.wrangler(into="wave", key="i")
def clean(_run: nm.Run) -> Iterator[dict[str, Any]]:
    yield from rows()


@nm.learner(FEED, model="power-accelerate", build=make_net)
def learn(run: nm.Run, hidden: int = 16, epochs: int = 4) -> nm.Trained:
    accelerator = Accelerator(cpu=True)
    net = make_net(hidden)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    # the loader is not prepared: the feed is this worker's share already, and places its batches
    net, optimizer = accelerator.prepare(net, optimizer)
    loader = DataLoader(run.feed.train.to_torch(accelerator.device), batch_size=None)
    step = 0
    for _ in run.epochs(epochs):
        for batch in run.batches(loader):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(net(batch["x"]), batch["y"])
            accelerator.backward(loss)
            optimizer.step()
            step += 1
            run.log({"loss/train": loss.detach()}, step=step)
        plain = accelerator.unwrap_model(net)
        found = run.validate(plain, {"mae": nm.mae, "rmse": nm.rmse}, keep="best", patience=2, optimizer=optimizer)
        run.checkpoint(step=step, model=plain, optimizer=optimizer.optimizer)
    return nm.Trained(plain, metrics=found.best)

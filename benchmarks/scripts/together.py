"""A learner that one or several workers train, from the feed or from tensors in memory."""

import time
from collections.abc import Iterator

import torch

import nemesyst as nm

SPEC = nm.Feed("many", inputs=["v"], targets=["y"], shuffle=True)


def in_memory(run: nm.Run, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This worker's batches of random rows, as PyTorch's DistributedSampler would give them."""
    whole = run.hub.feed(SPEC, shard=(run.rank, run.world_size), even=True).to_numpy()
    x, y = torch.from_numpy(whole["x"]), torch.from_numpy(whole["y"])
    while True:
        order = torch.randperm(len(x))
        for first in range(0, len(x), size):
            picked = order[first : first + size]
            yield x[picked], y[picked]
        yield x[:0], y[:0]  # the end of an epoch


@nm.learner(SPEC, model="together")
def learn(run: nm.Run, epochs: int = 4, source: str = "feed", size: int = 512) -> nm.Trained:
    feed = run.hub.feed(SPEC.with_(batch_size=size), shard=(run.rank, run.world_size), even=True)
    layers = [torch.nn.Linear(8, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU()]
    net = run.prepare(torch.nn.Sequential(*layers, torch.nn.Linear(512, 1)))
    optimizer = torch.optim.Adam(net.parameters())
    memory = in_memory(run, size)
    seconds, losses = [], [0.0]
    for _ in range(epochs):
        begin, losses = time.perf_counter(), []
        for x, y in memory if source == "memory" else ((b["x"], b["y"]) for b in feed.to_torch()):
            if not len(x):
                break
            loss = ((net(x) - y) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    mean = run.mean(sum(losses) / len(losses))
    return nm.Trained(net, metrics={"seconds": min(seconds), "loss": mean})

"""A wrangler with next to nothing to do, in PyTorch."""

from collections.abc import Iterator

import torch

import nemesyst as nm


@nm.wrangler(into="tiny")
def wrangle(run: nm.Run) -> Iterator[dict[str, float]]:  # noqa: ARG001 - every stage is given its run
    net = torch.nn.Linear(4, 1)
    optimizer = torch.optim.Adam(net.parameters())
    loss = net(torch.ones(8, 4)).sum()
    loss.backward()
    optimizer.step()
    yield {"loss": loss.item()}

"""PyTorch Lightning: its Trainer inside of a learner. Run it: nemesyst run with_lightning.py."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as lightning
import torch
from readings import FEED, rows
from torch.utils.data import DataLoader

import nemesyst as nm


class Regressor(lightning.LightningModule):
    """Two layers; what it logs goes to the run, if it has one."""

    def __init__(self, hidden: int, run: nm.Run | None = None) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))
        self.run = run

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, 2) to (rows, 1)."""
        said: torch.Tensor = self.layers(x)
        return said

    def training_step(self, batch: dict[str, torch.Tensor], _: int) -> torch.Tensor:
        """Batches are those of the feed: arrays by name."""
        loss = torch.nn.functional.mse_loss(self(batch["x"]), batch["y"])
        if self.run is not None:
            self.run.log({"loss/train": loss.detach()}, step=self.global_step)
        return loss

    def on_train_epoch_end(self) -> None:
        """The run validates on its feed's validation part, and ends the Trainer early."""
        if self.run is not None and self.run.validate(self, {"mae": nm.mae}, keep="best", patience=2).stop:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """One optimiser for all."""
        return torch.optim.Adam(self.parameters(), lr=0.01)


def make_net(hidden: int = 16) -> Regressor:
    return Regressor(hidden)


@nm.wrangler(into="wave", key="i")
def clean(_run: nm.Run) -> Iterator[dict[str, Any]]:
    yield from rows()


@nm.learner(FEED, model="power-lightning", build=make_net)
def learn(run: nm.Run, hidden: int = 16, epochs: int = 4) -> nm.Trained:
    net = Regressor(hidden, run)
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(net, DataLoader(run.feed.train.to_torch(), batch_size=None))
    found = run.validate(run.best(net), {"mae": nm.mae})  # Lightning has the loop, so the best weights come by hand
    return nm.Trained(net, metrics=found.best)

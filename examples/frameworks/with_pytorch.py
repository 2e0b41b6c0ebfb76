"""PyTorch: an LSTM that foretells the air temperature from the last 16 steps, and its ONNX form for small devices."""

import torch
from fridges import rows
from torch import nn

import nemesyst as nm


class Forecast(nn.Module):
    """(rows, steps, 3) to (rows, 1)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(3, hidden, batch_first=True)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last state of the LSTM decides."""
        last: torch.Tensor = self.out(self.memory(x)[0][:, -1])
        return last


@nm.architecture("fridge-lstm")
def make_net(hidden: int) -> Forecast:
    return Forecast(hidden)


hub = nm.connect()
hub.put("fridges", rows(), key=("unit", "t"))
feed = hub.feed(
    "fridges",
    inputs=["air", "outside", "power"],
    targets=["air"],
    window=nm.Window(by="unit", on="t", length=16, horizon=1),
    split=nm.Split(by="unit", test=0.25),
    scale="standard",
    batch_size=128,
    shuffle=True,
)
net = make_net(hidden=16)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
for _ in range(3):
    for batch in feed.train.to_torch():
        loss = nn.functional.mse_loss(net(batch["x"]), batch["y"].reshape(-1, 1))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

version = hub.models.save(
    net, "air-lstm", feed=feed, build=make_net, args={"hidden": 16}, optimizer=optimizer, also="onnx",
    metrics={"loss": loss.item()},
)  # fmt: skip
hub.models.promote(version.ref, "champion")

elsewhere = nm.connect()  # any node that reaches the database
champion = elsewhere.models.load("air-lstm@champion", verify=True)  # made by make_net, tested on its golden batch
device = elsewhere.models.load("air-lstm@champion", form="onnx")  # needs onnxruntime, and no PyTorch
batch = next(iter(feed.test))
with torch.inference_mode():
    expected = champion(torch.from_numpy(batch["x"])).numpy()
apart = float(abs(device.run(batch["x"])["output"] - expected).max())
print(version, "loss", round(loss.item(), 3), "the ONNX form is", "the same" if apart < 1e-5 else apart)

"""A learner that kills its own process at a step, for ``test_resume``: HOME DATABASE STATE RESUME(0|1) STEP."""

import os
import signal
import sys
import time
from pathlib import Path

import torch

import nemesyst as nm
from nemesyst.run.recording import recorded
from nemesyst.run.records import Work
from nemesyst.stages import Alone, JobContext, Silent, stage_of, work

torch.set_num_threads(1)
KILL = int(sys.argv[5])
FEED = nm.Feed(
    "rows", inputs=["a", "b"], targets="y", split=nm.Split(validation=0.2), scale="standard", batch_size=16,
    shuffle=True, seed=3,
)  # fmt: skip


@nm.learner(FEED, model="net")
def learn(run):
    net = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.Dropout(0.3), torch.nn.ReLU(), torch.nn.Linear(32, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 7, 0.9)
    also = {"schedule": schedule}
    found = run.resume(model=net, optimizer=optimizer, also=also)
    step = 0 if found is None else found.step
    print(f"from step {step}", flush=True)
    for _ in run.epochs(4):
        for batch in run.feed.train.to_torch():
            loss = torch.nn.functional.mse_loss(net(batch["x"]), batch["y"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            run.log({"loss/train": loss.item()}, step=step)
            run.checkpoint(step=step, model=net, optimizer=optimizer, also=also)
            if step == KILL:
                die(run)
    return nm.Trained(net, metrics={"steps": step})


def die(run):
    """Kill -9, once there is a checkpoint to go on from, whatever the thread that writes them is doing."""
    while run.hub.state.checkpoints.find_one({}, {"_id": 1}) is None:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)


def main():
    home, database, state, resume = sys.argv[1:5]
    with nm.connect(home=home, database=database, state=state) as hub:
        what = Work(__file__, "learn", "learn", "net")
        with recorded(hub, what, Alone(), resume=resume == "1") as recorder:
            context = JobContext(Path(__file__), progress=recorder.watching(Silent()), recorder=recorder)
            recorder.done(work(hub, stage_of(learn), {}, context))


if __name__ == "__main__":
    main()

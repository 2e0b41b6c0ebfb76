"""Optuna: a study whose objective calls a learner as a plain function, and prunes by what it logs."""

from collections.abc import Mapping

import optuna
import torch
from readings import FEED, rows

import nemesyst as nm


def make_net(hidden: int = 16) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(2, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, 1))


@nm.learner(FEED, model="power-optuna", build=make_net)
def learn(run: nm.Run, hidden: int = 16, rate: float = 0.01, epochs: int = 3) -> nm.Trained:
    net = make_net(hidden)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate)
    for epoch in run.epochs(epochs):
        for batch in run.feed.train.to_torch():
            loss = torch.nn.functional.mse_loss(net(batch["x"]), batch["y"])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        run.log({"loss/train": loss.detach()}, step=epoch)
        found = run.validate(net, {"mae": nm.mae}, keep="best")
    return nm.Trained(net, metrics=found.best)


def objective(trial: optuna.Trial) -> float:
    def prune(values: Mapping[str, float], step: int | None) -> None:
        if step is not None and "val/mae" in values:
            trial.report(values["val/mae"], step)
            if trial.should_prune():
                raise optuna.TrialPruned  # passes through the learner

    args = {"hidden": trial.suggest_int("hidden", 2, 32), "rate": trial.suggest_float("rate", 1e-4, 0.1, log=True)}
    return dict(nm.trial(hub, learn, args, on_log=prune).metrics or {})["mae"]


if __name__ == "__main__":
    hub = nm.connect()
    hub.put("wave", rows(), key="i")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler, pruner = optuna.samplers.TPESampler(seed=0), optuna.pruners.MedianPruner(n_startup_trials=2)
    study = optuna.create_study(sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=6)
    best = nm.trial(hub, learn, study.best_params)  # the same weights again: seeded, on the same rows
    version = hub.models.save(
        best.model, "power-optuna", feed=hub.feed(FEED), build=make_net, args={"hidden": study.best_params["hidden"]},
        metrics=best.metrics,
    )  # fmt: skip
    mae = version.metrics["mae"]
    same = mae == study.best_value
    pruned = sum(each.state.name == "PRUNED" for each in study.trials)
    print(version, round(mae, 3), "the same as in its trial" if same else "differs", "pruned", pruned)

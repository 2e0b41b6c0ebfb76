"""Reads passes of a DataLoader with workers, as a user's program: standard input says how, standard output what."""

import json
import os
import pickle
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from feeds import Rows

from nemesyst.database.reconnect import Reconnect


def main():
    import torch
    from torch.utils.data import DataLoader

    how = json.load(sys.stdin)
    again = Reconnect(how["uri"], timeout=30, options={"username": how["username"], "password": how["password"]})
    feed = Rows(again.connect(), how["database"], again, epoch=how.get("epoch", 0))
    dataset = feed.to_torch()
    options = {"multiprocessing_context": how["start"], "persistent_workers": how.get("persistent", False)}
    loader = DataLoader(dataset, batch_size=None, num_workers=how["workers"], **(options if how["workers"] else {}))
    passes = []
    if how.get("peek"):
        torch.manual_seed(0)
        passes.append([next(iter(loader))["i"].tolist()])
    for _ in range(how["passes"]):
        if how.get("seeded", True):
            torch.manual_seed(0)
        passes.append([batch["i"].tolist() for batch in loader])
    pickled = pickle.dumps(dataset)
    secret = how["password"].encode() in pickled
    plain = [batch["i"].tolist() for batch in dataset]
    copy = pickle.loads(pickled)  # noqa: S301 - our own
    os.environ |= {"NEMESYST_USERNAME": how["username"], "NEMESYST_PASSWORD": how["password"]}
    copied = [batch["i"].tolist() for batch in copy]
    forked = DataLoader(copy, batch_size=None, num_workers=2, multiprocessing_context="fork")
    copied += [batch["i"].tolist() for batch in forked]
    print(json.dumps({"passes": passes, "secret": secret, "plain": plain, "copied": copied}))


if __name__ == "__main__":
    main()

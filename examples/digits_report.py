"""What came out of digits.py: accuracy, confusion matrix, where the model came from, and a picture."""

import argparse
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

import nemesyst as nm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="digits", choices=["digits", "mnist"])
    parser.add_argument("--picture", default="demo.png")
    options = parser.parse_args()
    with nm.connect() as hub:
        rows = joined(hub, options.name)
        if not rows:
            raise SystemExit(f"no predictions in {options.name}-predictions yet: run nemesyst run examples/digits.py")
        print_accuracy(rows)
        print_confusion(rows)
        print_origin(hub, f"{options.name}-cnn@champion")
        save_picture(rows, options.picture)
        print(f"\npicture: {options.picture}")


def joined(hub: nm.Hub, name: str) -> list[dict[str, Any]]:
    """Each prediction beside the image and the label, joined by the database."""
    lookup = {"from": name, "localField": "source", "foreignField": "_id", "as": "row"}
    stages: list[dict[str, Any]] = [{"$lookup": lookup}, {"$unwind": "$row"}, {"$sort": {"_id": 1}}]
    return list(hub.db[f"{name}-predictions"].aggregate(stages))


def print_accuracy(rows: list[dict[str, Any]]) -> None:
    right = sum(row["label"] == row["row"]["label"] for row in rows)
    models = ", ".join(f"{model} ({count:,})" for model, count in sorted(Counter(row["model"] for row in rows).items()))
    print(f"\naccuracy on the test part: {right / len(rows):.2%} ({right:,} of {len(rows):,}); predicted by {models}")


def print_confusion(rows: list[dict[str, Any]]) -> None:
    matrix = np.zeros((10, 10), int)
    for row in rows:
        matrix[row["row"]["label"], row["label"]] += 1
    print("\nconfusion matrix (a row is the true digit, a column the predicted one)\n")
    print("      " + "".join(f"{digit:>6}" for digit in range(10)))
    for digit, counts in enumerate(matrix):
        print(f"{digit:>6}" + "".join(f"{count or '.':>6}" for count in counts))


def print_origin(hub: nm.Hub, ref: str) -> None:
    version = hub.models.get(ref)
    feed = version.feed or {}
    arguments = version.learner["args"] if version.learner else version.args
    print(f"\nwhere {ref} came from")
    made = f"{version.created:%Y-%m-%d %H:%M:%S} UTC, {version.framework}, {version.size:,} bytes"
    print(f"  version    {version.ref}, {made}")
    print(f"  checksum   {version.digest}")
    print(f"  collection {feed['collection']}, pipeline {feed['pipeline'] or 'none'}")
    print(f"  fields     {', '.join(feed['inputs'])} -> {', '.join(feed['targets'])}, split {feed['split']}")
    print(f"  rows       {', '.join(f'{part} {count:,}' for part, count in version.rows.items())}")
    print(f"  arguments  {pairs(arguments)}")
    print(f"  metrics    {', '.join(f'{name} {value:.4f}' for name, value in version.metrics.items())}")


def pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(values.items()))


def save_picture(rows: list[dict[str, Any]], path: str) -> None:
    """Test images with what was predicted: the errors first, in red, then the least sure of the right ones."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    wrong = [row for row in rows if row["label"] != row["row"]["label"]]
    right = sorted((row for row in rows if row["label"] == row["row"]["label"]), key=lambda row: row["confidence"])
    shown = (wrong[:30] + right)[:60]
    figure, axes = plt.subplots(6, 10, figsize=(11, 8))
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, shown, strict=False):
        truth, label = row["row"]["label"], row["label"]
        axis.imshow(nm.unpack(row["row"]["image"]), cmap="gray_r")
        text = f"{label}" if truth == label else f"{label}, not {truth}"
        axis.set_title(text, fontsize=11, color="black" if truth == label else "red")
        if truth != label:
            axis.axis("on")
            axis.set(xticks=[], yticks=[])
            for spine in axis.spines.values():
                spine.set(color="red", linewidth=2)
    figure.suptitle(
        f"{len(wrong)} of {len(rows):,} test images predicted wrongly (red, {min(len(wrong), 30)} shown); "
        "then the least certain right ones"
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()

"""Windows by plain loops, row by row, without chunks; and a collection that is read in chunks."""

import math
from itertools import pairwise

import numpy as np

from nemesyst.feed.table import Table
from nemesyst.feed.windows import Border, Borders, arranged, carried, gathered, margin


def reference(window, rows, events=()):
    """Windows by (device, time of the first step): lists x, y, mask and the part."""
    found = {}
    for device in {row["by"] for row in rows}:
        latest = {row["t"]: row for row in rows if row["by"] == device}
        steps = [latest[t] for t in sorted(latest)]
        for before, step in zip([None, *steps], steps, strict=False):
            step["flips"] = before is not None and step["anchor"] != before["anchor"]
        if window.every is not None:
            steps = grid(window, steps)
        for at, step in enumerate(steps):
            step["ordinal"] = at if window.every is None else step["cell"]
        marks = [mark for by, mark in events if by == device]
        for at in range(len(steps) - window.span + 1):
            inside = steps[at : at + window.span]
            if whole(window, inside) and begins(window, steps, at, marks):
                found[device, inside[0]["t"]] = shown(window, inside)
    return found


def whole(window, steps):
    for one, other in pairwise(steps):
        if other["part"] != one["part"] or other.get("broken"):
            return False
        if window.every is None and window.max_gap is not None and other["t"] - one["t"] > window.max_gap:
            return False
    return steps[0]["part"] >= 0


def begins(window, steps, at, marks):
    if window.anchor is None:
        return steps[at]["ordinal"] % window.stride == 0
    event = at + window.length - (window.horizon == 0)
    now, before = steps[event], steps[event - 1]
    if isinstance(window.anchor, str):
        return now["flips"]
    if window.every is None:
        return any(before["t"] < mark <= now["t"] for mark in marks)
    return any(before["cell"] < math.floor(mark / window.every) <= now["cell"] for mark in marks)


def shown(window, steps):
    inputs = steps[: window.length]
    ahead = steps[window.length :] if window.horizon else inputs[-1:]
    x = [list(step["x"]) for step in inputs]
    if window.fill == "linear":
        for field in range(len(x[0])):
            hold(x, inputs, field)
    mask = [step.get("measured", [1.0] * len(x[0])) for step in inputs]
    return {"x": x, "y": [step["y"] for step in ahead], "mask": mask, "part": steps[0]["part"]}


def hold(x, inputs, field):
    age = inputs[-1]["age"][field]
    for back in range(min(age or 0, len(x))):
        x[-1 - back][field] = inputs[-1]["held"][field]


def grid(window, readings):
    """Cells of one device, in order; the first of each run but the first is ``broken`` off."""
    runs = [[]]
    for reading in readings:
        if runs[-1] and reading["t"] - runs[-1][-1]["t"] > window.max_gap:
            runs.append([])
        runs[-1].append(reading)
    steps = []
    for run in runs:
        cells = cells_of_run(window, run)
        cells[0]["broken"] = True
        steps += cells
    return steps


def cells_of_run(window, run):
    inside = {}
    for reading in run:
        inside.setdefault(math.floor(reading["t"] / window.every), []).append(reading)
    numbers = range(min(inside), max(inside) + 1)
    fields = [field_of_run(window, inside, numbers, field) for field in range(len(run[0]["x"]))]
    cells = []
    for number in numbers:
        low = max(n for n in inside if n <= number)
        high = min(n for n in inside if n >= number)
        parts = {reading["part"] for n in (low, high) for reading in inside[n]}
        last = inside[low][-1]
        value, measured, age, held = zip(*(field[number] for field in fields), strict=True)
        cells.append({
            "cell": number, "t": number * window.every, "part": parts.pop() if len(parts) == 1 else -1,
            "y": last["y"], "flips": any(reading["flips"] for reading in inside.get(number, ())),
            "x": value, "measured": measured, "age": age, "held": held,
        })  # fmt: skip
    return cells


def field_of_run(window, inside, numbers, field):
    """For each cell: value, 1.0 if measured, cells since the last measured one, its value."""
    known = {}
    for number, readings in inside.items():
        values = [reading["x"][field] for reading in readings if not math.isnan(reading["x"][field])]
        if values:
            known[number] = values[-1] if window.fill == "last" else sum(values) / len(values)
    reach = math.floor(window.max_gap / window.every) + 1
    made = {}
    for number in numbers:
        low = max((n for n in known if n <= number), default=None)
        high = min((n for n in known if n >= number), default=None)
        if low is None or high is None or high - low > reach:
            made[number] = (math.nan, 0.0, None, math.nan)
        elif low == number:
            made[number] = (known[low], 1.0, 0, known[low])
        else:
            slope = (known[high] - known[low]) / (high - low)
            value = known[low] + (slope * (number - low) if window.fill == "linear" else 0)
            made[number] = (value, 0.0, number - low, known[low])
    return made


def table_of(window, rows, on):
    """Rows as a table; ``on`` is the dtype of time."""
    arrays = {
        "x": np.array([row["x"] for row in rows], np.float32).reshape(len(rows), 2),
        "y": np.array([row["y"] for row in rows], np.int64),
        "#on": np.array([row["t"] for row in rows], on),
        "#part": np.array([row["part"] for row in rows], np.int8),
    }
    if window.by is not None:
        arrays["#by"] = np.array([row["by"] for row in rows])
    if isinstance(window.anchor, str):
        arrays["#anchor"] = np.array([row["anchor"] for row in rows])
    return Table(arrays)


def read_in_chunks(window, rows, cuts, on, events=None):
    """The windows of each chunk as (windows, batch), read as a reader would.

    Args:
        rows: In the order of (device, time, arrival).
        cuts: Borders between chunks as (device, time or None), ascending.
        on: Dtype of time.
        events: For ``arranged``.
    """
    need, before = margin(window), 0
    plain = lambda spell: spell / np.timedelta64(1, "ms") if hasattr(spell, "total_seconds") else spell  # noqa: E731
    for start, stop in zip([None, *cuts], [*cuts, None], strict=True):
        chosen = [row for row in rows if at_least(row, start) and not (stop and at_least(row, stop))]
        if start and start[1] is not None and need.before is not None:
            low = start[1] - plain(need.before)
            chosen = [r for r in rows if r["by"] == start[0] and low <= r["t"] < start[1]] + chosen
        if stop and stop[1] is not None:
            behind = [row for row in rows if row["by"] == stop[0] and row["t"] >= stop[1]]
            chosen += after(need, behind, stop, plain)
        borders = Borders(*(edge and Border(*moment(edge, on)) for edge in (start, stop)))
        table = table_of(window, chosen, on)
        made = arranged(window, table, borders, before=before, events=events)
        if window.ordinal:
            before = carried(window, table, borders, before=before)
        yield made, gathered(window, made.table.arrays, made.starts)


def at_least(row, edge):
    return edge is None or (row["by"], row["t"]) >= (edge[0], -math.inf if edge[1] is None else edge[1])


def moment(edge, on):
    return edge[0], None if edge[1] is None else np.array(edge[1]).astype(on)[()]


def after(need, behind, stop, plain):
    if need.after is not None:
        return [row for row in behind if row["t"] < stop[1] + plain(need.after)]
    asked, taken = need.steps, need.steps
    while asked:
        taken = asked
        asked = need.wanted(np.array([row["t"] for row in behind[:taken]]), taken)
    return behind[:taken]

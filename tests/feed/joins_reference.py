"""What a join over time must give: a loop over documents; and how the other collection is read in tests."""

import numpy as np

from nemesyst.database import RawReader
from nemesyst.feed.joins import AsOf, Joiner, check_join, united

COUNTED = []


def reader(hub, collection, *, hidden=()):
    """Reads pipelines as the lead does; rows whose ``_id`` is hidden count as later than the cutoff."""
    front = [{"$match": {"_id": {"$nin": list(hidden)}}}] if hidden else []

    def read(branches):
        COUNTED.append(len(branches))
        # after all other stages, as the client does it: what the server picked before may be what is left out
        stages = [*united(collection, branches), *front]
        yield from RawReader(hub._connection, hub.db.name, collection, stages=stages)

    return read


def joined(hub, spec, by, on, *, hidden=(), keep=64 << 20, seek=..., missing=None):
    """The columns of a join, checked first."""
    spec = spec.filled({})
    found = check_join(hub._connection, hub.db.name, spec)
    if seek is not ...:
        found = type(found)(seek, found.by_kind, found.on_kind, found.layouts)
    joiner = Joiner(reader(hub, spec.collection, hidden=hidden), spec, found, keep=keep)
    return joiner.columns(by, on, missing=missing)


def reference(documents, spec, by, on, hidden=()):
    """Value or None of each field for each row, by a loop."""
    others = [each for each in documents if each["_id"] not in set(hidden)]
    others.sort(key=lambda each: each["_id"])
    rows = []
    for i in range(len(on)):
        best = None
        for each in others:
            if spec.right_by and (each.get(spec.right_by) is None or each[spec.right_by] != by[i]):
                continue
            time = each.get(spec.right_on)
            if time is None or time > on[i] or (spec.span is not None and _age(on[i], time) > spec.span):
                continue
            if best is None or time >= best[spec.right_on]:
                best = each
        rows.append({name: None if best is None else best.get(name) for name in spec.renamed})
    return rows


def _age(late, early):
    age = late - early
    return age.total_seconds() * 1000 if hasattr(age, "total_seconds") else age


def check(columns, rows, spec):
    """That columns are as the reference has them."""
    for name, shown in spec.renamed.items():
        column = columns[shown]
        missing = np.zeros(len(rows), bool) if column.missing is None else column.missing
        wanted = [row[name] for row in rows]
        assert missing.tolist() == [value is None for value in wanted]
        ours = [None if gap else value for value, gap in zip(column.values.tolist(), missing, strict=True)]
        assert ours == wanted


__all__ = ["AsOf", "check", "joined", "reader", "reference"]

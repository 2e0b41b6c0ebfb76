"""Statistics of decoded rows beside what the server makes of the documents."""

import numpy as np
import pytest

from nemesyst.database import RawReader
from nemesyst.feed.decode import Decoder
from nemesyst.feed.scaling import collector

FIELDS = ["air", "count"]


def test_statistics_are_those_of_the_servers_group(hub):
    rng = np.random.default_rng(0)
    hub.put("rows", [{"air": rng.normal(4, 2), "count": int(rng.integers(9))} for _ in range(3000)])
    group = {"_id": None} | {f"mean_{field}": {"$avg": f"${field}"} for field in FIELDS}
    group |= {f"deviation_{field}": {"$stdDevPop": f"${field}"} for field in FIELDS}
    server = next(hub.db.rows.aggregate([{"$group": group}]))
    taken, decoder = collector("standard", FIELDS), Decoder(FIELDS)
    for raw in RawReader(hub._connection, hub.db.name, "rows", find={"filter": {}}):
        taken.add(decoder.decode(raw).stack(FIELDS))
    found = taken.statistics("standard")
    assert found.centre == pytest.approx([server[f"mean_{field}"] for field in FIELDS], rel=1e-6)
    assert found.spread == pytest.approx([server[f"deviation_{field}"] for field in FIELDS], rel=1e-6)

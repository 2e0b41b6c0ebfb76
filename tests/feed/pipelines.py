"""Collections and pipelines for property-based tests of the feed."""

import math
from datetime import datetime

from bson import Binary, Decimal128, MaxKey, MinKey, ObjectId, Timestamp

ODD_IDS = [
    None, math.nan, True, False, {}, {"a": 1}, b"", Binary(b"q", 5), Timestamp(1, 1), MinKey(), MaxKey(), math.inf,
    Decimal128("3.25"), datetime(2020, 1, 1), datetime(1960, 1, 1), "", ObjectId(b"a" * 12),
]  # fmt: skip
IDS = {
    "ints": lambda i: (i * 7919) % 10_007,
    "floats": lambda i: i / 4 if i % 3 else i,
    "texts": lambda i: f"r{i:05}",
    "ids": lambda i: ObjectId(f"{i:024x}"),
    "dates": lambda i: datetime(2024, 1, 1 + i // 900, i // 60 % 15, i % 60),
    "keys": lambda i: {"unit": i % 7, "t": i},
    "mixed": lambda i: (
        ODD_IDS[i] if i < len(ODD_IDS) else [i, f"r{i:05}", ObjectId(f"{i:024x}"), {"unit": i % 7, "t": i}][i % 4]
    ),
}
KEPT = ("n", "a", "b", "u", "t", "s", "w", "part", "gap", "l", "m", "i")
"""Fields that every pipeline leaves as they are, or changes a little."""
FIELDS = dict.fromkeys(KEPT, 1)


def documents(random, count, kind, units):
    """Documents with fields of most types; ``n`` names a document."""
    made = []
    for i in range(count):
        one = {"_id": IDS[kind](i), "n": i, "a": random.choice([i / 8, i]), "b": random.randrange(6)}
        one |= {"u": random.choice(units), "t": random.randrange(50), "s": random.choice(["red", "green", "blau"])}
        one |= {"w": random.random(), "part": random.choice(["train", "train", "validation", "test"]), "i": 0}
        one |= {"l": [{"v": j} for j in range(random.randrange(4))], "m": {"x": i, "level": random.randrange(2)}}
        if random.random() < 0.7:
            one["gap"] = random.choice([1.5, 2, None])
        made.append(one)
    random.shuffle(made)
    return made


def late_documents(count, kind):
    """Documents that come after the cutoff: nothing of them may matter, so that hardly a field is what it should be."""
    odd = {
        "u": 1,
        "t": 44,
        "a": 1,
        "b": 3,
        "w": "heavy",
        "gap": {"x": 1},
        "part": "tset",
        "l": [{"v": 1}],
        "s": [1, [2]],
    }
    return [{"_id": IDS[kind](i), "n": i, **odd} for i in range(1000, 1000 + count)]


ROW_BY_ROW = [
    lambda r, ids: {"$match": {"b": {"$gte": r.randrange(4)}}},
    lambda r, ids: {"$match": {"u": r.choice([1, 2, "unit1"])}},
    lambda r, ids: {"$match": {"u": 1, "t": {"$gte": r.randrange(40)}}},
    lambda r, ids: {"$match": {"t": {"$gt": r.randrange(30), "$lte": 45}}},
    lambda r, ids: {"$match": {"_id": {"$in": r.sample(ids, min(len(ids), 30))}}},
    lambda r, ids: {"$match": {"_id": {"$gt": r.choice(ids)}}} if ids else {"$match": {}},
    lambda r, ids: {"$match": {"$or": [{"b": 1}, {"u": 2}, {"n": {"$in": list(range(0, 300, 7))}}]}},
    lambda r, ids: {"$match": {"$expr": {"$gt": ["$n", r.randrange(100)]}}},
    lambda r, ids: {"$project": FIELDS},
    lambda r, ids: {"$project": {**FIELDS, "_id": 0}},
    lambda r, ids: {"$project": {"m": {"x": 0}}},
    lambda r, ids: {"$project": {"m.x": 0, "_id": 1}},
    lambda r, ids: {"$project": {**FIELDS, "a": {"$add": ["$a", 1]}, "_id": {"n": "$n"}}},
    lambda r, ids: {"$set": {"a": {"$multiply": ["$a", 0.5]}}},
    lambda r, ids: {"$set": {"_id": {"$mod": ["$n", 5]}}},
    lambda r, ids: {"$addFields": {"m.y": "$b"}},
    lambda r, ids: {"$unset": ["_id", "m"]},
    lambda r, ids: {"$unset": "m.x"},
    lambda r, ids: {"$unwind": {"path": "$l", "includeArrayIndex": "i"}},
    lambda r, ids: {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$$ROOT", {"b": {"$add": ["$b", 1]}}]}}},
    lambda r, ids: {"$replaceRoot": {"newRoot": {name: f"${name}" for name in KEPT if name != "m"}}},
    lambda r, ids: {"$replaceWith": {name: f"${name}" for name in KEPT}},
    lambda r, ids: {"$redact": {"$cond": [{"$gt": ["$b", 4]}, "$$PRUNE", "$$KEEP"]}},
    lambda r, ids: {"$redact": {"$cond": [{"$or": [{"$gte": ["$n", 0]}, {"$eq": ["$level", 1]}, {"$gte": ["$v", 1]}]}, "$$DESCEND", "$$PRUNE"]}},
    lambda r, ids: {"$lookup": {"from": "other", "localField": "u", "foreignField": "k", "as": "o"}},
    lambda r, ids: {"$lookup": {"from": "other", "let": {"u": "$b"}, "pipeline": [{"$match": {"$expr": {"$eq": ["$k", "$$u"]}}}], "as": "o"}},
    lambda r, ids: {"$fill": {"output": {"gap": {"value": 7}}}},
]  # fmt: skip
ACROSS = [
    lambda r, ids: {"$group": {"_id": {"$mod": ["$n", 20]}, **{name: {"$max": f"${name}"} for name in KEPT}}},
    lambda r, ids: {"$limit": r.choice([1, 7, 100])},
    lambda r, ids: {"$sort": {"b": 1, "n": -1, "i": 1}},
    lambda r, ids: {"$skip": 5},
]


def pipeline(random, ids, *, across):
    """Some stages; those across documents only after an order that says which documents they see."""
    stages = [random.choice(ROW_BY_ROW)(random, ids) for _ in range(random.randrange(4))]
    if across and random.random() < 0.5:
        stage = random.choice(ACROSS)(random, ids)
        if "$limit" in stage or "$skip" in stage:
            stages.append({"$sort": {"n": 1, "i": 1, "b": 1, "a": 1}})
        stages.append(stage)
    return stages

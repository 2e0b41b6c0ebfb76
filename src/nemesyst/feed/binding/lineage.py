"""Where the rows of a feed come from, checked by digests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import xxhash

from nemesyst.feed.assemble import layout_as_dict
from nemesyst.feed.split import PARTS

if TYPE_CHECKING:
    from nemesyst.feed.binding.bound_rows import Binding
    from nemesyst.feed.chunks import Chunks


def digest_of_rows(chunks: Chunks) -> str:
    """The digest of all rows, in the order of the plan; reads what nobody has read yet."""
    chunks.see_all()
    facts = chunks.facts
    hasher = xxhash.xxh3_128()
    for chunk in sorted(facts):
        if facts[chunk].rows:
            hasher.update(f"{facts[chunk].rows}:{facts[chunk].digest};".encode())
    return str(hasher.hexdigest())


def lineage(binding: Binding) -> dict[str, Any]:
    """Where the rows come from, as JSON values."""
    spec, chunks, time = binding.spec, binding.chunks, binding.time
    digest, facts, plan = digest_of_rows(chunks), chunks.facts, binding.plan()
    categories = chunks.source.categories
    binding.save()
    return {
        "specification": spec.as_dict(),
        "fingerprint": spec.fingerprint,
        "database": binding.target.place.database,
        "collections": sorted(binding.target.collections),
        "as_of": None if time is None else [time.time, time.inc],
        "plan": binding.key,
        "bounds": plan.digest,
        "chunks": len(plan.bounds),
        "digests": [facts[chunk].digest for chunk in sorted(facts)],
        "digest": digest,
        "rows": _samples(binding),
        "layout": layout_as_dict(chunks.source.layout),
        "categories": None if categories is None else categories.as_dict(),
        **binding.prepared.as_dict(),
        "changed": sorted(chunks.changed),
        "server": binding.about["server"],
    }


def _samples(binding: Binding) -> dict[str, int]:
    """Rows or windows of each part; of all without a split."""
    facts = binding.chunks.facts.values()
    if binding.spec.split is None and binding.spec.window is None:
        return {"all": sum(each.rows for each in facts)}
    names = PARTS if binding.spec.split is not None else ("all",)
    return {name: sum(each.samples[part] for each in facts) for part, name in enumerate(names)}

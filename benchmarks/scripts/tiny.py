"""A wrangler with next to nothing to do."""

from collections.abc import Iterator

import nemesyst as nm


@nm.wrangler(into="tiny")
def wrangle(run: nm.Run) -> Iterator[dict[str, int]]:  # noqa: ARG001 - every stage is given its run
    yield {"one": 1}

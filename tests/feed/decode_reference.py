"""What a batch must decode to: each document by bson, each field by ``feed.columns``."""

import re

import bson
import numpy as np
import pytest

from nemesyst.feed.columns import column, through_list
from nemesyst.feed.decode import Decoder

OPTIONS = bson.CodecOptions(uuid_representation=4)
ABSENT = object()


def batch_of(documents):
    """The BSON array that a server's reply would hold; documents may be bytes already."""
    encoded = [d if isinstance(d, bytes) else bson.encode(d, codec_options=OPTIONS) for d in documents]
    content = b"".join(b"\x03%d\0" % i + document for i, document in enumerate(encoded))
    return (len(content) + 5).to_bytes(4, "little") + content + b"\0"


def decoded(documents, names=None):
    return Decoder(names).decode(batch_of(documents))


def look_up(documents, name):
    """The values of a field as the reference looks them up."""
    values = [document.get(name, ABSENT) for document in documents]
    if "." not in name or ABSENT not in values:
        return values
    return [_dotted(document, name) for document in documents]


def _dotted(document, name):
    value, parts = document, name.split(".")
    for i, part in enumerate(parts):
        if isinstance(value, list):
            raise through_list(name, ".".join(parts[:i]), document.get("_id"))
        if not isinstance(value, dict) or part not in value:
            return ABSENT
        value = value[part]
    return value


def expected(documents, name):
    """Values where they are, missing and null; or the text of the error."""
    documents = [bson.decode(bson.encode(d, codec_options=OPTIONS), OPTIONS) for d in documents]
    values = look_up(documents, name)
    there = [i for i, value in enumerate(values) if value is not ABSENT and value is not None]
    missing = np.array([value is ABSENT or value is None for value in values])
    null = np.array([value is None for value in values])
    rows = [{"_id": documents[i].get("_id"), name: values[i]} for i in there]
    return (column(rows, name) if rows else np.empty(0)), missing, null


def check(columns, documents, name):
    """That a column is as the reference has it, or refused with the same words."""
    try:
        values, missing, null = expected(documents, name)
    except Exception as refusal:  # noqa: BLE001 - whatever the reference raises, ours must raise as well
        with pytest.raises(type(refusal), match=f"^{re.escape(str(refusal))}$"):
            columns.column(name)
        return
    ours = columns.column(name)
    found_missing = np.zeros(len(documents), bool) if ours.missing is None else ours.missing
    found_null = np.zeros(len(documents), bool) if ours.null is None else ours.null
    np.testing.assert_array_equal(found_missing, missing)
    np.testing.assert_array_equal(found_null, null)
    assert len(ours.values) == len(documents)
    assert ours.values.flags.c_contiguous
    assert ours.values.flags.writeable
    if len(values):
        assert ours.values.dtype == values.dtype
        if values.dtype == object:  # by text: no number is equal to itself
            assert repr(ours.values[~missing].tolist()) == repr(values.tolist())
        else:
            np.testing.assert_array_equal(ours.values[~missing], values)

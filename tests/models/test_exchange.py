"""Models that move between databases in one verified file."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from blake3 import blake3

import nemesyst as nm
from nemesyst.errors import CorruptBlobError, ModelError, RecordError, SettingsError, UnknownModelError
from nemesyst.models.container import MAGIC

pytestmark = pytest.mark.slow


@pytest.fixture
def other(server, home, names):
    """The registry of another state database."""
    state = f"{names['state']}_other"
    with nm.connect(home=home, database=names["database"], state=state) as hub:
        yield hub.models
        hub.db.client.drop_database(state)


@pytest.fixture
def file(models, large, weights, tmp_path):
    """Three versions: small, large, and one of a site with the large one's weights; the second went on from the first."""
    models.save(weights, "air", metrics={"mae": float("nan")}, tags={"customer": "north"}, feed={"collection": "t"})
    models.save(large, "air", parent="air@1", args={"hidden": 3}, text="Air.", learner={"function": "learn", "seed": 3})
    models.save(large, "air[site 12]")
    models.promote("air@2", "champion")
    models.export(["air@1", "air@champion", "air[site 12]"], tmp_path / "air.models")
    return tmp_path / "air.models"


def same(one, two):
    return all(np.array_equal(one[name], two[name]) for name in one.keys() | two.keys())


def test_versions_arrive_as_they_were(models, other, file):
    versions = other.import_(file)
    assert [version.ref for version in versions] == ["air@1", "air@2", "air[site 12]@1"]
    for version in versions:
        assert same(other.load(version.ref), models.load(version.ref))
    was, now = models.get("air@2"), other.get("air@2")
    assert [
        (each.digest, each.args, each.text, each.learner, each.parent, each.environment) for each in (was, now)
    ] == [(was.digest, was.args, was.text, was.learner, was.parent, was.environment)] * 2
    assert now.imported["ref"] == "air@2"
    assert np.isnan(other.get("air@1").metrics["mae"])
    assert [version.ref for version in other.list(tags={"customer": "north"})] == ["air@1"]


def test_equal_contents_are_in_the_file_once(models, file):
    assert file.stat().st_size < 1.1 * models.get("air@2").size


def test_numbers_are_the_next_ones_and_parents_follow(other, file, weights):
    other.save(weights, "air")
    versions = other.import_(file)
    assert [version.ref for version in versions] == ["air@2", "air@3", "air[site 12]@1"]
    assert versions[1].parent == "air@2"


def test_numbers_can_be_kept(other, file, weights):
    other.import_(file, numbers="keep")
    assert other.save(weights, "air").number == 3
    with pytest.raises(ModelError, match="air@1 is there already, and a number is given once"):
        other.import_(file, numbers="keep")
    other.delete("air@1")
    with pytest.raises(ModelError, match="air@1 is deleted here"):
        other.import_(file, numbers="keep")


def test_aliases_come_if_they_are_asked_for(other, file):
    other.import_(file)
    with pytest.raises(UnknownModelError):
        other.get("air@champion")
    other.import_(file, aliases=True)
    assert other.get("air@champion").number == 4
    assert other.history("air@champion")[0].why == "imported from air.models"


def test_a_file_that_cannot_be_read_or_written_is_told(models, file, tmp_path):
    with pytest.raises(RecordError, match="cannot be read: No such file"):
        models.import_(tmp_path / "nothing")
    with pytest.raises(RecordError, match="cannot be written"):
        models.export("air", tmp_path / "no" / "folder")
    with pytest.raises(SettingsError, match="numbers='same'"):
        models.import_(file, numbers="same")
    with pytest.raises(SettingsError):
        models.export([], tmp_path / "x")


def test_an_export_that_fails_leaves_the_old_file(models, state, file):
    before = file.read_bytes()
    state["blobs.chunks"].delete_many({"n": 3})
    with pytest.raises(CorruptBlobError):
        models.export("air@2", file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def index_of(data):
    length = struct.unpack("<Q", data[16:24])[0]
    return json.loads(data[56 : 56 + length]), data[56 + length :]


def made(index, contents):
    text = json.dumps(index).encode()
    return MAGIC + struct.pack("<Q", len(text)) + blake3(text).digest() + text + contents


def hostile(change):
    def apply(data):
        index, contents = index_of(data)
        change(index)
        return made(index, contents)

    return apply


def flip(place):
    def apply(data):
        data = bytearray(data)
        data[place] ^= 1
        return bytes(data)

    return apply


def record(**changes):
    return hostile(lambda index: index["versions"][0].update(changes))


HOSTILE = {
    "empty": lambda data: b"",
    "another file": lambda data: b"PK\x03\x04" + bytes(100),
    "magic": flip(3),
    "another format": flip(15),
    "length of the index": flip(22),
    "an index of a terabyte": lambda data: data[:16] + struct.pack("<Q", 1 << 40) + data[24:],
    "digest of the index": flip(30),
    "index": flip(80),
    "content": flip(-1),
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "cut in the index": lambda data: data[:100],
    "an index that is no JSON": lambda data: MAGIC + struct.pack("<Q", 1) + blake3(b"[").digest() + b"[",
    "a deep index": lambda data: MAGIC + struct.pack("<Q", 9**6) + blake3(b"[" * 9**6).digest() + b"[" * 9**6,
    "an index that is a list": lambda data: made([], b""),
    "a negative size": hostile(lambda index: index["contents"][0].update(size=-1)),
    "a size of a terabyte": hostile(lambda index: index["contents"][0].update(size=1 << 40)),
    "a size that is no number": hostile(lambda index: index["contents"][0].update(size="9")),
    "a digest of another content": hostile(lambda index: index["contents"][0].update(digest="0" * 64)),
    "a path as a digest": hostile(lambda index: index["contents"][0].update(digest="../../etc/passwd")),
    "a name with a path": record(name="../../etc"),
    "an entity with a bracket": record(entity="a]@1"),
    "a name that is no text": record(name=3),
    "no number": record(number=None),
    "a number that is too large": record(number=1 << 70),
    "no framework": record(framework=None),
    "an alias that is a number": record(aliases=["7"]),
    "a time that is none": record(created="soon"),
    "arguments with an operator": record(args={"$where": 1}),
    "a feed that is no text": record(feed={"collection": "t"}),
    "a feed that is no JSON": record(feed="{"),
    "no model": record(contents={}),
    "a content that is not in the file": record(contents={"model": "0" * 64}),
}


@pytest.mark.parametrize("harm", HOSTILE)
def test_a_hostile_file_is_refused_without_effect(other, file, harm, tmp_path):
    bad = tmp_path / "bad"
    bad.write_bytes(HOSTILE[harm](file.read_bytes()))
    with pytest.raises(CorruptBlobError, match="bad is no file of models, or a damaged one"):
        other.import_(bad)
    assert other.names() == []

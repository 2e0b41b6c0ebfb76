"""Records that were edited by hand, or that came in a file: one clear error, and the others can still be read."""

from __future__ import annotations

import json
import os
import warnings

import numpy as np
import pytest
from blake3 import blake3
from bson import DatetimeMS

from nemesyst.cli import main
from nemesyst.database import NodeCache
from nemesyst.errors import CorruptBlobError, ModelError, SettingsError, UnknownModelError
from nemesyst.models.container import MAGIC
from nemesyst.models.queries import DamagedRecordWarning

from .savers import given_up

pytestmark = pytest.mark.slow

DEEP = "[" * 100_000
NESTED = '{"a":' * 300 + "1" + "}" * 300

DAMAGED = [
    *({"rows": bad} for bad in ("x", {"train": "x"}, {"train": None}, [1])),
    *({"metrics": bad} for bad in ("x", {"mae": "x"}, {"mae": None}, {"mae": float("inf")}, {"mae": True})),
    *({"args": bad} for bad in ("x", [1], {"n": float("nan")})),
    *({"tags": bad} for bad in ("x", {"a": [1]}, {"a": {"b": 1}})),
    *({"learner": bad} for bad in ("x", [], {"git": "x"}, {"args": [1]}, {"script": 5})),
    *({"environment": bad} for bad in (5, {"packages": [1]}, {"packages": {"numpy": 2}})),
    *({"seconds": bad} for bad in ("x", float("nan"), float("inf"), -1.0, True)),
    *({"created": bad} for bad in ("x", 5, None)),
    *({"aliases": bad} for bad in ("champion", [5], ["a b"], {"a": 1})),
    *({"imported": bad} for bad in ("x", {"ref": 5})),
    *({"feed": bad} for bad in ("x", "[]", DEEP, NESTED, '{"a": "\\ud800"}', 5)),
    *({"lineage": bad} for bad in (5, ["x"])),
    *({"text": 5}, {"framework": None}, {"parent": 5}, {"contents": "x"}, {"contents": {"model": 5}}),
]
DATES = [{"created": DatetimeMS(2**60)}, {"args": {"at": DatetimeMS(-(2**60))}}]
"""Beyond those of Python."""
LINEAGES = [
    *("x", "[]", "5", "null", DEEP, NESTED, '{"rows": 5}', '{"rows": {"train": "x"}}', '{"as_of": "x"}'),
    *('{"as_of": [1]}', '{"as_of": [1e300, 1]}', '{"as_of": [99999999999999, 1]}', '{"collections": 5}'),
    '{"collections": [5]}',
]


def edited(models, state, weights, change):
    models.save(weights, "air")
    models.save(weights, "air", parent="air@1")
    state.versions.update_one({"number": 1}, {"$set": change})


@pytest.mark.parametrize("change", [*DAMAGED, *DATES], ids=lambda change: f"{change!s:.60}")
def test_a_damaged_record_is_one_clear_error_and_the_others_are_listed(models, state, weights, change, tmp_path):
    edited(models, state, weights, change)
    readers = [models.get, models.load, models.lineage, models.card, lambda ref: models.export(ref, tmp_path / "x")]
    readers += [lambda ref: models.save(weights, "air", parent=ref), lambda _: models.lineage("air@2")]
    for read in readers:
        with pytest.raises(ModelError, match=r"air@1 in the state database is damaged"):
            read("air@1")
    with pytest.warns(DamagedRecordWarning, match="air@1"):
        assert [version.ref for version in models.list()] == ["air@2"]
    assert [version.ref for version in models.delete("air@1", aliases=True)] == ["air@1"]
    with pytest.raises(UnknownModelError, match="was deleted"):
        models.get("air@1")


@pytest.mark.parametrize("text", LINEAGES, ids=lambda text: text[:40])
def test_a_damaged_lineage_is_one_clear_error(models, state, weights, text, tmp_path):
    edited(models, state, weights, {"lineage": text, "feed": '{"collection": "t"}'})
    readers = [lambda ref: models.get(ref).lineage, lambda ref: str(models.lineage(ref)), models.card]
    for read in [*readers, lambda ref: models.export(ref, tmp_path / "x")]:
        with pytest.raises(ModelError, match="air@1 .* damaged: its lineage"):
            read("air@1")


@pytest.mark.filterwarnings("ignore::nemesyst.database.nodecache.BlobCacheWarning")
def test_a_size_of_nothing_beside_an_empty_file_in_the_cache_is_a_corrupt_model(hub, models, state, large):
    digest = models.save(large, "air").digest
    models.load("air")
    state.versions.update_one({}, {"$set": {"contents.model.size": 0}})
    (NodeCache.of(hub.settings).folder / digest).write_bytes(b"")
    with pytest.raises(CorruptBlobError, match="air@1"):
        models.load("air")


def test_a_card_of_curves_that_are_none_is_still_a_card(models, weights):
    for points in (b'{"loss": [[1], []]}', b'{"loss": [[0, 1.7e308], [1, -1.7e308]]}', b'{"loss": "12"}', b"[1]"):
        version = models.save(weights, "air", curves=points)
        assert version.ref in models.card(version.ref)


def test_a_damaged_version_goes_with_the_alias_that_names_it(models, state, weights):
    models.save(weights, "air")
    models.promote("air@1", "champion")
    state.versions.update_one({}, {"$set": {"metrics": 5}})
    with pytest.raises(ModelError, match="is champion"):
        models.delete("air@1")
    models.delete("air@champion", aliases=True)
    with pytest.raises(UnknownModelError):
        models.get("air@champion")


@pytest.mark.parametrize("change", [{"when": 5}, {"move": "x"}, {"to": "x"}, {"who": 5}, {"evidence": 5}, {"below": 1}])
def test_a_damaged_move_is_one_clear_error(models, state, weights, change):
    for number in (1, 2):
        models.save(weights, "air")
        models.promote(f"air@{number}", "champion")
    state.promotions.update_one({"move": 1}, {"$set": change})
    if "below" not in change:
        with pytest.raises(ModelError, match="of air@champion in the state database is damaged"):
            models.history("air@champion")
        return
    state.promotions.update_one({"move": 1}, {"$set": {"from": 9}})
    models.rollback("air@champion")
    with pytest.raises(ModelError, match="damaged: its below"):
        models.rollback("air@champion")


def rewritten(path, change):
    """A file of models whose first record is another one, with a digest that fits."""
    data = path.read_bytes()
    begin = len(MAGIC) + 40
    length = int.from_bytes(data[16:24], "little")
    index = json.loads(data[begin : begin + length])
    change(index["versions"])
    text = json.dumps(index).encode()
    path.write_bytes(MAGIC + len(text).to_bytes(8, "little") + blake3(text).digest() + text + data[begin + length :])


IMPORTED = [
    *(change for change in DAMAGED if not change.keys() & {"contents", "imported"} and change != {"created": None}),
    *({"lineage": text} for text in LINEAGES),
    *({"text": "\ud800"}, {"name": "a@1"}, {"name": "a[b]"}, {"name": None}, {"number": 0}),
]


@pytest.mark.parametrize("change", IMPORTED, ids=lambda change: f"{change!s:.60}")
def test_a_damaged_record_in_a_file_is_refused_before_anything_is_stored(models, state, large, tmp_path, change):
    if change in ({"metrics": {"mae": None}}, {"framework": None}):
        pytest.skip("means something else in a file")
    models.save(large, "air")
    models.export("air@1", tmp_path / "x")
    models.delete("air@1")
    models.gc(older_than=0)
    rewritten(tmp_path / "x", lambda versions: versions[0].update(change))
    with pytest.raises(CorruptBlobError, match="a record in it is none"):
        models.import_(tmp_path / "x")
    assert not state.versions.count_documents({}) + state.blobs.count_documents({})


def test_an_alias_or_version_that_stands_twice_in_a_file_is_refused_before_anything_is_stored(
    models, state, weights, tmp_path
):
    for _ in range(2):
        models.save(weights, "air")
    models.export(["air@1", "air@2"], tmp_path / "x")
    rewritten(tmp_path / "x", lambda versions: [each.update(aliases=["champion"]) for each in versions])
    with pytest.raises(CorruptBlobError, match="air@champion stands in it twice"):
        models.import_(tmp_path / "x", aliases=True)
    rewritten(tmp_path / "x", lambda versions: [each.update(number=1) for each in versions])
    with pytest.raises(CorruptBlobError, match="air@1 stands in it twice"):
        models.import_(tmp_path / "x")
    assert state.versions.count_documents({}) == 2


def test_what_killed_exports_left_goes_with_the_next_export(models, weights, tmp_path):
    models.save(weights, "air")
    dead, young, other = (tmp_path / f".{name}.part" for name in ("x.0123abcd", "x.0123abce", "y.0123abcd"))
    for part in (dead, young, other):
        part.write_bytes(b"x")
    for part in (dead, other):
        os.utime(part, (0, 0))
    models.export("air", tmp_path / "x")
    assert [part.exists() for part in (dead, young, other)] == [False, True, True]


def test_a_saver_whose_blob_is_collected_while_it_is_stored_stores_it_again(models, state, large, monkeypatch):
    from nemesyst.database.blobparts import PartWriter

    finish, ended = PartWriter.finish, []

    def collected(writer):
        finish(writer)
        if not ended:
            given_up(state)
            models.gc(older_than=0)
        ended.append(1)

    monkeypatch.setattr(PartWriter, "finish", collected)
    models.save(large, "air")
    ended.clear()
    models.save_many([("soil", {"w": large["w"] + 1})])
    assert np.array_equal(models.load("soil")["w"], large["w"] + 1)
    assert state.blobs.count_documents({"state": "ready"}) == 2


LOOP: dict = {}
LOOP["self"] = LOOP

REFUSED = {
    "entity": lambda models, w: models.save(w, "air[\ud800]"),
    "text": lambda models, w: models.save(w, "air", text="\ud800"),
    "args": lambda models, w: models.save(w, "air", args={"a": ["\ud800"]}),
    "a name in args": lambda models, w: models.save(w, "air", args={"a": {"\ud800": 1}}),
    "tags": lambda models, w: models.save(w, "air", tags={"a": "\ud800"}),
    "metrics": lambda models, w: models.save(w, "air", metrics={"\ud800": 1}),
    "learner": lambda models, w: models.save(w, "air", learner={"function": "\ud800"}),
    "learner's git": lambda models, w: models.save(w, "air", learner={"git": 5}),
    "architecture": lambda models, w: models.save(w, "air", architecture="\ud800"),
    "feed": lambda models, w: models.save(w, "air", feed={"collection": "\ud800"}),
    "why of a promotion": lambda models, _: models.promote("air@1", "champion", why="\ud800"),
    "why that is no text": lambda models, _: models.promote("air@1", "champion", why=5),
    "why of a rollback": lambda models, _: models.rollback("air@champion", why=5),
    "why of a deletion": lambda models, _: models.delete("air@1", why=5),
    "tags of a list": lambda models, _: models.list(tags={"a": "\ud800"}),
    "entity of a list": lambda models, _: models.list(entity="\ud800"),
    "metrics of a list": lambda models, _: models.list(where={"\ud800": 1}),
    "limit": lambda models, _: models.list(limit=2**70),
    "also": lambda models, w: models.save(w, "air", also=5),
    "curves": lambda models, w: models.save(w, "air", curves="text"),
    "build": lambda models, _: models.load("air", build=5),
    "moves": lambda models, _: models.promote_many(5),
    "moves of one": lambda models, _: models.promote_many([("air@1",)]),
    "moves of three": lambda models, _: models.promote_many([("air@1", "a", 3)]),
    "delete": lambda models, _: models.delete(None),
    "save_many": lambda models, _: models.save_many(5),
    "import": lambda models, _: models.import_(None),
    "export to a NUL": lambda models, _: models.export("air", "a\0b"),
    "export of a number": lambda models, _: models.export(5, "x"),
    "args in itself": lambda models, w: models.save(w, "air", args=LOOP),
    "older_than": lambda models, _: models.gc(older_than=1e300),
    "plans": lambda models, _: models.gc(plans=5),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_and_nothing_is_written(models, state, weights, name):
    models.save(weights, "air")
    with pytest.raises(SettingsError):
        REFUSED[name](models, weights)
    assert state.versions.count_documents({}) == 1
    assert not state.promotions.count_documents({})


def test_export_reads_all_records_at_one_moment(models, weights, tmp_path, monkeypatch):
    for _ in range(2):
        models.save(weights, "air")
        models.save(weights, "soil")
    models.promote("air@1", "champion")
    catalogue, moved = type(models._store.catalogue), []
    find_all = catalogue.find_all

    def moving(self, refs, session=None):
        found = find_all(self, refs[:1], session)
        if not moved:
            moved.append(refs)
            models.promote("air@2", "champion")
        return found + find_all(self, refs[1:], session)

    monkeypatch.setattr(catalogue, "find_all", moving)
    models.export(["air@champion", "air@2"], tmp_path / "x")
    versions = json.loads(index_of(tmp_path / "x"))["versions"]
    assert sum("champion" in each["aliases"] for each in versions) == 1


def index_of(path):
    data = path.read_bytes()
    return data[56 : 56 + int.from_bytes(data[16:24], "little")]


@pytest.fixture
def run(home, names, capsys):
    """Run ``nemesyst models ...``; gives the exit code and what was printed."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["models", *words, "--home", str(home), "--database", names["database"], "--state", names["state"]])
        return ended.value.code, *capsys.readouterr()

    return run


def test_the_command_line_lists_what_is_whole_and_escapes_what_is_not_for_terminals(
    models, state, weights, run, tmp_path
):
    edited(models, state, weights, {"metrics": 5})
    models.save(weights, "air", text="\x1b[2Jfine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        code, out, err = run("list")
    assert (code, out.count("air@"), err.count("air@1")) == (0, 2, 1)
    assert err.startswith("warning: ")
    code, out, _ = run("show", "air@3")
    assert code == 0
    assert "\x1b" not in out
    assert "\\u001b[2Jfine" in out
    for words in (["gc", "--hours", "inf"], ["gc", "--hours", "1e300"], ["gc", "--days", "inf"], ["show", "a\udcff"]):
        code, _, err = run(*words)
        assert code == 1
        assert err.startswith("error: ")
    code, _, err = run("export", "air@3", "--file", os.fsdecode(bytes(tmp_path) + b"/\xff.models"))
    assert (code, err) == (0, "")
    state.versions.update_one({"number": 2}, {"$set": {"lineage": "x"}})
    code, out, err = run("list", "--json")
    assert [each["ref"] for each in json.loads(out)] == ["air@3"]
    assert "air@2" in err

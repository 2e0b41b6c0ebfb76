from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import nemesyst as nm
from nemesyst.errors import UnknownModelError
from nemesyst.models.card.pictures import Mark, intervals, lines, scatter

from .telemetry import learn, predict, put, spec

HOSTILE = '"></title><script>alert(1)</script><img src=x onerror=alert(1)>&amp;'
VOID = {"meta", "line", "circle", "path"}


class Page(HTMLParser):
    """Tags, attributes and texts of a page; complains about tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def svgs(text):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]  # noqa: S314 - our own


@pytest.fixture
def evaluated(hub):
    put(hub)
    learn(
        hub,
        spec=spec(),
        shift=0.3,
        text="Predicts air.\n\nNot for freezers.",
        tags={"customer": "north"},
        metrics={"loss": 0.5},
    )
    curves = json.dumps({"loss/train": [[0, 1.0, 1, 1, 1], [1, 0.5, 0.5, 0.5, 1]]}).encode()
    learn(hub, spec=spec(), parent="air@1", curves=curves)
    feed = hub.feed(spec())
    found = hub.models.evaluate(
        ["air@1", "air@2"], feed.test, [nm.mae, nm.rmse], baselines=["persistence"], predict=predict
    )
    hub.models.promote("air@1", "champion", why="first one")
    hub.models.promote("air@2", "champion", on=found, metric="mae")
    return hub.models


def test_a_card_tells_what_is_recorded(evaluated):
    text = evaluated.card("air")
    page = Page(text)
    said = " ".join(page.texts)
    assert "air@2" in said
    for words in (
        "Purpose",
        "Results",
        "mae",
        "persistence",
        "Training",
        "collection",
        "tel",
        "air@1",
        "BLAKE3",
        "first one",
    ):
        assert words in said, words
    assert page.tags.count("svg") == 4  # two metrics, predictions, curves
    assert "No purpose was given" in said
    assert "Not for freezers." in " ".join(Page(evaluated.card("air@1")).texts)


def test_a_card_is_one_file_without_scripts_or_anything_from_elsewhere(evaluated):
    text = evaluated.card("air@champion")
    page = Page(text)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not {"src", "href", "onload", "onerror"} & set(page.attributes)
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text
    assert 'name="viewport"' in text


def test_nothing_that_is_recorded_becomes_markup(hub):
    put(hub)

    def harmless(batch):
        return batch["x"][:, -1, 0]

    harmless.__name__ = HOSTILE
    on = spec(pipeline=[{"$set": {"note": HOSTILE}}])
    learn(hub, spec=on, text=HOSTILE, tags={HOSTILE[:20]: HOSTILE}, learner={"function": HOSTILE, "script": HOSTILE})
    hub.models.evaluate(["air@1", harmless], hub.feed(on).test, {HOSTILE: nm.mae}, predict=predict)
    hub.models.promote("air@1", "champion", why=HOSTILE)
    text = hub.models.card("air")
    page = Page(text)
    assert not {"script", "img"} & set(page.tags)
    assert "onerror" not in page.attributes
    assert page.tags.count("title") == 1 + page.tags.count("svg")
    assert " ".join(page.texts).count("alert(1)") >= 5
    assert svgs(text)


def test_a_card_says_what_is_not_known(hub):
    hub.models.save({"w": np.zeros(2)}, "bare")
    said = " ".join(Page(hub.models.card("bare")).texts)
    assert "No evaluation of this version is stored" in said
    assert "saved without a feed" in said
    with pytest.raises(UnknownModelError):
        hub.models.card("nobody")


def test_metrics_of_the_training_are_shown_where_nothing_was_evaluated(hub):
    put(hub)
    for loss in (0.5, float("nan")):
        learn(hub, spec=spec(split=None), metrics={"loss": loss})
    said = " ".join(Page(hub.models.card("air")).texts)
    assert "As said by whoever trained it" in said
    assert "no part was kept back for a test" in said


@pytest.mark.core
@pytest.mark.parametrize(
    "svg",
    [
        intervals("t", [Mark("air[site12]@3", 0.5, 0.4, 0.6, chosen=True), Mark("b" * 80, 1e9, float("nan"), 0)]),
        intervals("t", [Mark("a", float("nan"), float("nan"), float("nan"))]),
        intervals("t", [Mark("a", 0.0, 0.0, 0.0), Mark("b", -1e-12, -1e-12, -1e-12)]),
        lines("t", {"a": [(0, 1.0), (1, float("nan")), (2, float("inf")), (3, 2.0)], "b": []}, "x"),
        lines("t", {str(n): [(0, n)] for n in range(9)}, "x"),
        lines("t", {}, "x"),
        scatter("t", [(1.0, 2.0), (float("nan"), 1.0)], "x", "y"),
        scatter("t", [], "x", "y"),
    ],
)
def test_pictures_stay_within_their_frame_whatever_the_numbers(svg):
    root = ET.fromstring(svg)  # noqa: S314 - our own
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        for name, most in (
            ("x", width),
            ("cx", width),
            ("x1", width),
            ("x2", width),
            ("y", height),
            ("cy", height),
            ("y1", height),
        ):
            value = element.get(name)
            assert value is None or -0.1 <= float(value) <= most + 0.1, (element.tag, name, value)
    assert "nan" not in svg

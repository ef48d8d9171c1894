"""The drawn architecture is what its text source says."""

from __future__ import annotations

from xml.etree import ElementTree

import yaml

from infrastructure.diagram import PICTURE, SOURCE, draw


def test_the_picture_is_current_and_well_formed() -> None:
    picture = draw(yaml.safe_load(SOURCE.read_text()))
    assert PICTURE.read_text() == picture, "run `python -m infrastructure.diagram`"
    ElementTree.fromstring(picture)


def test_every_arrow_joins_boxes_and_no_two_boxes_share_a_place() -> None:
    source = yaml.safe_load(SOURCE.read_text())
    assert {end for arrow in source["arrows"] for end in arrow[:2]} <= set(source["boxes"])
    places = [tuple(box["at"]) for box in source["boxes"].values()]
    assert len(places) == len(set(places))

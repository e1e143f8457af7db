"""Errors that are made on purpose, and what they are called."""
import pytest

from mmdet_diffmap.errors.kinds import Kind
from mmdet_diffmap.lab.planted_errors import (
    ABOUT_OBJECTS,
    PLANTS,
    confusion,
    named,
)

CASES = [(plant, detector) for plant in PLANTS for detector in plant.detectors]
#: Boxes that are shifted by less than they are wide may come to lie at other
#: objects, or leave other candidates at their own.
SHIFTED = Kind.BADLY_PLACED, Kind.BOTH


def test_every_kind_is_planted():
    assert {plant.kind for plant in PLANTS} == set(Kind) - {
        Kind.CORRECT, Kind.IGNORED}


@pytest.mark.slow
@pytest.mark.parametrize('plant, detector', CASES, ids=[
    f'{detector}-{plant.text}' for plant, detector in CASES])
def test_they_are_named_as_what_they_are(plant, detector):
    scenes = 24 if plant.kind is Kind.BACKGROUND else 4
    counts = named(plant, detector, scenes)
    right, others = confusion(plant, counts)
    assert sum(counts.values()) >= 4
    if plant.kind in SHIFTED:
        assert right >= 0.8 * sum(counts.values())
    else:
        assert right == sum(counts.values()) and not others


def test_nothing_planted_is_nothing_named():
    plant = next(plant for plant in PLANTS if plant.kind in ABOUT_OBJECTS)
    nothing = type(plant)('nothing', plant.detectors, plant.kind, None)
    assert not named(nothing, 'fcos', 2)

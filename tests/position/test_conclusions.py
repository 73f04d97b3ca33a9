"""Tests of what an advice concludes from the measurements of several targets, over all combinations of their kinds."""

from itertools import chain, combinations_with_replacement, permutations

import pytest

from lightning_coordconv.position import Dependence, Share
from lightning_coordconv.position.advice import conclude
from lightning_coordconv.position.frames import Frames
from lightning_coordconv.position.placement import Placement

MEASURED = {  # value, low and high of what position adds; images; whether the target is constant; what follows from it
    "constant": (0.0, 0.0, 0.0, 200, True, "nothing"),
    "yes": (0.5, 0.45, 0.55, 200, False, "yes"),
    "no": (0.0, -0.01, 0.01, 200, False, "no"),
    "no, and the content tells all": (0.0, 0.0, 0.0, 200, False, "no"),
    "across the threshold": (0.01, -0.01, 0.04, 200, False, "open"),
    "wide": (0.1, -0.1, 0.3, 200, False, "open"),
    "wide, and clear of the threshold": (0.4, 0.2, 0.6, 200, False, "open"),
    "too few images for a no": (0.0, -0.01, 0.01, 60, False, "open"),
    "too few images": (0.5, 0.45, 0.55, 10, False, "open"),
    "in no image often enough": (0.0, 0.0, 0.0, 0, False, "open"),
}
COMBINATIONS = list(chain(*(combinations_with_replacement(MEASURED, count) for count in (1, 2, 3))))


def target(name):
    value, low, high, images, constant, _ = MEASURED[name]
    share = Share(value, low, high)
    return Dependence(name, share, share, images, images, 0.0, value, 1.0, constant=constant)


def concluded(names):
    frames = Frames(random=False, placed=False, sizes=1, crop=None, batch=None, resized=None)
    return conclude([target(name) for name in names], [], None, frames, Placement(["first"], "the first"))


@pytest.mark.parametrize("names", COMBINATIONS, ids=" + ".join)
def test_a_no_needs_every_target_that_can_say_something(names):
    follows = {MEASURED[name][-1] for name in names} - {"nothing"}
    expected = True if "yes" in follows else False if follows == {"no"} else None
    start = {True: "Therefore: convert", False: "Therefore: do not", None: "Therefore: undecided"}[expected]
    for order in set(permutations(names)):
        advice = concluded(order)
        assert advice.convert is expected
        assert advice.sentences[-1].startswith(start)
        for name, sentence in zip(order, advice.sentences, strict=False):
            assert ("the same everywhere" in sentence) is (name == "constant")


def test_the_reason_is_that_of_the_targets_that_are_open():
    for names, reason in (
        (["constant", "constant"], "in 200 images no target varies"),
        (["too few images for a no", "no"], "60 images are too few to rule out a dependence"),
        (["too few images", "constant", "no"], "10 images are too few to say anything"),
        (["wide", "constant"], "200 images leave open whether position adds more than 2%"),
    ):
        assert f"undecided, for {reason}" in concluded(names).sentences[-1]

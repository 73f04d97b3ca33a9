"""Verdicts follow from records by the rule that the page states."""

import json
import random

import numpy as np
import pytest

from benchmarks import detection_verdict, results
from benchmarks.claims import costs, evidence, page, records
from benchmarks.claims.evidence import FAILS, HOLDS, NOT_RUN, OPEN, Arm, Best, Count, Criterion, Finding
from benchmarks.claims.paper import claims
from benchmarks.claims.records import metric
from lightning_coordconv.runtime import configs

CONTROL = "coordinates/classification_uniform_coordconv"  # a config with batches of 4


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Write records of an experiment with the given values of a metric, one per seed."""
    monkeypatch.setattr(results, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(detection_verdict, "RECORDS", tmp_path / "verdict")

    def write(experiment, values, name="accuracy", steps=100):
        for seed, value in enumerate(values):
            run = {
                "experiment": experiment, "seed": seed, "steps": steps, "weights": 10, "device": "cpu",
                "cpu_seconds": 3600.0, "curve": [{"step": steps}], "test": {f"test/{name}": value},
            }  # fmt: skip
            path = tmp_path / "runs" / experiment / f"seed{seed}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(run))

    return write


def criterion(experiment=CONTROL, paper=0, **bounds):
    return Criterion("accuracy", (Arm(experiment, metric("accuracy"), paper),), **bounds)


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ([0.9, 0.95, 0.97], HOLDS),
        ([0.6, 0.7, 0.65], FAILS),
        ([0.7, 0.95, 0.9], OPEN),  # the bound is inside the interval
        ([0.9, 0.95], OPEN),  # too few seeds
        ([], NOT_RUN),
    ],
)
def test_a_criterion_compares_the_whole_interval_with_its_bound(record, values, result):
    record(CONTROL, values)
    assert criterion(at_least=0.8).evaluate().result == result
    mirrored = {HOLDS: FAILS, FAILS: HOLDS}.get(result, result)
    assert criterion(at_most=0.8).evaluate().result == mirrored


def test_a_run_on_fewer_images_than_the_papers_is_in_a_smaller_setting(record):
    record(CONTROL, [0.9] * 3, steps=100)
    assert not criterion(paper=400, at_least=0.8).evaluate().smaller
    assert criterion(paper=1600, at_least=0.8).evaluate().share == 0.25


@pytest.mark.parametrize(
    ("findings", "expected"),
    [
        ([HOLDS, HOLDS], "reproduced"),
        ([HOLDS, FAILS], "reproduced in part"),
        ([HOLDS, OPEN], "reproduced in part"),
        ([HOLDS, NOT_RUN], "reproduced in part"),
        ([FAILS, OPEN], "contradicted"),
        ([FAILS, NOT_RUN], "contradicted"),
        ([OPEN, OPEN], "undecided"),
        ([OPEN, NOT_RUN], "undecided"),
        ([NOT_RUN, NOT_RUN], "not run"),
    ],
)
def test_verdicts(findings, expected):
    assert evidence.verdict([Finding(result) for result in findings]) == expected
    weaker = {"reproduced": "reproduced in part", "contradicted": "undecided"}.get(expected, expected)
    assert evidence.verdict([Finding(result, share=0.9) for result in findings]) == weaker


def test_the_most_favourable_variant_fails_only_if_all_with_enough_seeds_fail(record):
    names = [f"detection/proposals_conv{variant}" for variant in ("", "_long", "_same")]
    best = Best("accuracy", tuple(criterion(name, at_least=0.8) for name in names))
    assert best.evaluate().result == NOT_RUN
    record(names[0], [0.5] * 3)
    record(names[1], [0.9] * 2)
    assert best.evaluate().result == FAILS
    record(names[2], [0.9] * 3)
    assert best.evaluate().result == HOLDS


def test_a_count_is_open_while_cases_without_records_could_reach_it(record):
    names = [f"detection/proposals_conv{variant}" for variant in ("", "_long", "_same")]
    count = Count("cases", tuple(criterion(name, at_least=0.8) for name in names), 2)
    expected = [NOT_RUN, OPEN, FAILS]
    for name, result in zip([None, *names], [*expected, FAILS], strict=True):
        if name is not None:
            record(name, [0.5] * 3)
        assert count.evaluate().result == result
    record(names[0], [0.9] * 3)
    record(names[1], [0.9] * 3)
    assert count.evaluate().result == HOLDS


def test_the_strongest_baseline_has_enough_seeds_if_any_has(record):
    names = [f"detection/proposals_conv{variant}" for variant in ("", "_long", "_same")]
    assert records.strongest(names, "accuracy") == names[0]
    record(names[1], [0.9])
    assert records.strongest(names, "accuracy") == names[1]
    record(names[0], [0.5] * 3)
    record(names[2], [0.6] * 3)
    assert records.strongest(names, "accuracy") == names[2]


def test_the_first_pair_with_records_of_both_is_used(record):
    pairs = [
        (f"detection/proposals_coordconv{variant}", f"detection/proposals_conv{variant}") for variant in ("", "_same")
    ]
    record(pairs[0][0], [0.5])
    assert records.available(*pairs) == pairs[1]
    record(pairs[0][1], [0.5])
    assert records.available(*pairs) == pairs[0]


def test_claims_without_records_are_not_run(record):
    findings = {claim.name: [each.evaluate() for each in claim.criteria] for claim in claims()}
    del findings["regression"]  # which also reads the file of benchmarks.paper_regressor
    assert {evidence.verdict(found) for found in findings.values()} == {"not run"}
    assert "**Not run**: classification uniform, " in page.brief()


def test_a_verdict_changes_with_the_records(record):
    def now():
        return next(
            evidence.verdict([each.evaluate() for each in claim.criteria])
            for claim in claims()
            if claim.name == "detection IoU"
        )

    generator = random.Random(0)
    for arm in ("conv", "coordconv"):
        record(f"detection/proposals_{arm}_long", [0.6 + generator.gauss(0, 0.01) for _ in range(5)], "best_iou", 5_625)
    assert now() == "contradicted"
    record("detection/proposals_coordconv_long", [0.8 + generator.gauss(0, 0.01) for _ in range(5)], "best_iou", 5_625)
    assert now() == "reproduced"
    record("detection/proposals_coordconv_long", [0.8] * 5, "best_iou", 5_624)
    assert now() == "reproduced in part"


def test_experiments_of_claims_exist_and_have_a_cost():
    for claim in claims():
        for experiment in claim.experiments:
            source, _, _ = experiment.partition("/")
            if source in ("detection_verdict", "paper_regressor"):
                continue
            if source != "rl":
                assert configs.find(experiment)
            assert page.core_hours(experiment) or page.estimate(experiment), experiment


def test_missing_runs_complete_five_seeds_and_are_priced(record):
    claim = next(claim for claim in claims() if claim.name == "rendering quadrant")
    record("coordinates/rendering_quadrant_coordconv", [1.0] * 5, "iou")
    record("coordinates/rendering_quadrant_deconv", [0.3] * 2, "iou")
    left = list(page.missing(claim))
    assert left == [("coordinates/rendering_quadrant_deconv", [2, 3, 4])]
    assert page.total(left) == "3 core hours"


def test_costs_are_extrapolated_from_two_batches(monkeypatch):
    found = []

    def train(experiment, arguments, size, counter):
        found.append((experiment, size))
        np.zeros(1)

    monkeypatch.setattr(costs, "train", train)
    monkeypatch.setattr(costs, "peak_bytes", lambda step, device: step() or 2**30 * (1 + found[-1][1]))
    row = costs.measure("generative/vae_conv")
    assert [size for _, size in found] == list(costs.BATCHES)
    assert row["batch_size"] == 64
    assert row["gib"] == 65

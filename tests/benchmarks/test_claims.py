"""Tests of the verdicts on the paper's claims, from written records: criteria, variants, counts, and costs of runs."""

import json
import random

import numpy as np
import pytest

from benchmarks import detection_verdict, results
from benchmarks.claims import costs, evidence, missing_runs, page, records
from benchmarks.claims.claim import less, mean_of
from benchmarks.claims.evidence import FAILS, HOLDS, NOT_RUN, OPEN, Arm, Best, Count, Criterion, Finding
from benchmarks.claims.paper import claims
from benchmarks.claims.records import metric
from lightning_coordconv.runtime import shipped_configs

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


def criterion(experiment=CONTROL, paper=None, **bounds):
    return Criterion("accuracy", (Arm(experiment, metric("accuracy"), paper or {}),), **bounds)


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


@pytest.mark.parametrize(
    ("images", "steps", "smaller"), [(400, 100, False), (1600, 100, True), (400, 400, True), (300, 50, False)]
)
def test_a_run_of_fewer_images_or_fewer_steps_than_the_papers_is_in_a_smaller_setting(record, images, steps, smaller):
    record(CONTROL, [0.9] * 3, steps=100)
    finding = criterion(paper={"images": images, "optimiser steps": steps}, at_least=0.8).evaluate()
    assert finding.smaller == smaller
    assert dict(finding.shares) == {"images": min(1, 400 / images), "optimiser steps": min(1, 100 / steps)}


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
    assert (
        evidence.verdict([Finding(result, shares=(("images", 1), ("optimiser steps", 0.9))) for result in findings])
        == weaker
    )


def test_the_most_favourable_variant_fails_only_if_all_with_enough_seeds_fail(record):
    names = [f"detection/proposals_conv{variant}" for variant in ("", "_long", "_same")]
    best = Best("accuracy", tuple(criterion(name, at_least=0.8) for name in names))
    assert best.evaluate().result == NOT_RUN
    record(names[0], [0.5] * 3)
    record(names[1], [0.9] * 2)
    assert best.evaluate().result == FAILS
    record(names[2], [0.9] * 3)
    assert best.evaluate().result == HOLDS


def test_of_variants_with_the_same_result_the_one_with_the_greatest_value_is_chosen_whatever_its_setting(record):
    variants = {"": (0.5, 200), "_long": (0.4, 800), "_same": (0.6, 100)}  # value, steps of batches of 8
    members = []
    for variant, (value, steps) in variants.items():
        name = f"detection/proposals_conv{variant}"
        record(name, [value] * 3, steps=steps)
        arm = Arm(name, metric("accuracy"), {"images": 1600})
        members.append(Criterion(variant or "default", (arm,), at_least=0.8))
    finding = Best("accuracy", tuple(members)).evaluate()
    assert (finding.result, finding.case, finding.smaller) == (FAILS, "_same", True)


def test_the_verdict_comes_with_the_number_of_criteria_of_each_result():
    findings = [Finding(result) for result in (HOLDS, FAILS, FAILS)]
    assert page.judged(findings) == "**reproduced in part** (1 of 3 holds, 2 fail)"
    findings = [Finding(result) for result in (OPEN, FAILS, NOT_RUN)]
    assert page.judged(findings) == "**contradicted** (0 of 3 hold, 1 fails, 1 is open, 1 is not run)"
    assert page.judged([Finding(NOT_RUN)]) == "**not run**"


def test_a_finding_names_the_value_and_the_seeds_of_each_arm(record):
    record("detection/proposals_coordconv", [0.5] * 5, "best_iou")
    pair = ("detection/proposals_coordconv", "detection/proposals_conv")
    assert page.measured(less("gain", pair, "best_iou").evaluate()) == (
        "no records of both arms (CoordConv 0.500, 5 seeds; convolution 0 seeds)"
    )
    record("detection/proposals_conv", [0.75], "best_iou")
    assert page.measured(less("gain", pair, "best_iou").evaluate()) == (
        "-0.250 (CoordConv 0.500, 5 seeds; convolution 0.750, 1 seed)"
    )
    assert page.measured(mean_of("iou", pair[0], "best_iou").evaluate()) == "0.500 (5 seeds)"


def test_a_count_names_how_many_games_were_played(record):
    names = [f"detection/proposals_conv{variant}" for variant in ("", "_long", "_same")]
    record(names[0], [0.5] * 3)
    finding = Count("games", tuple(criterion(name, at_least=0.8) for name in names), 2).evaluate()
    assert page.measured(finding) == "0 (0 to 2; better in 0 of 1 games played, 3 seeds each; 2 not played)"


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
    head, _, *rows = page.brief().splitlines()
    assert head.startswith("Which claims of the paper hold ")
    assert "None of the 14 is *reproduced* or " in head
    assert any(row.startswith("| not run | classification uniform; ") for row in rows)


@pytest.mark.slow
def test_a_verdict_changes_with_the_records(record):
    def now():
        return next(
            evidence.verdict([each.evaluate() for each in claim.criteria])
            for claim in claims()
            if claim.name == "detection IoU"
        )

    generator = random.Random(0)

    def noisy(value):
        return [value + generator.gauss(0, 0.01) for _ in range(5)]

    for arm in ("conv", "coordconv"):
        record(f"detection/proposals_{arm}_long", noisy(0.6), "best_iou", 5_625)  # all images, but in fewer steps
    assert now() == "undecided"
    for arm in ("conv", "coordconv"):
        record(f"detection/proposals_{arm}_paper", noisy(0.6), "best_iou", 45_000)
    assert now() == "contradicted"
    record("detection/proposals_coordconv_paper", noisy(0.8), "best_iou", 45_000)
    assert now() == "reproduced"
    record("detection/proposals_coordconv_paper", noisy(0.8), "best_iou", 44_999)
    assert now() == "reproduced in part"


def test_experiments_of_claims_exist_and_have_a_cost():
    for claim in claims():
        for experiment in claim.experiments:
            source, _, _ = experiment.partition("/")
            if source in ("detection_verdict", "paper_regressor"):
                continue
            if source != "rl":
                assert shipped_configs.find(experiment)
            assert missing_runs.core_hours(experiment) or missing_runs.estimate(experiment), experiment


def test_missing_runs_complete_five_seeds_and_are_priced(record):
    claim = next(claim for claim in claims() if claim.name == "rendering quadrant")
    record("coordinates/rendering_quadrant_coordconv", [1.0] * 5, "iou")
    record("coordinates/rendering_quadrant_deconv", [0.3] * 2, "iou")
    left = list(missing_runs.missing(claim.experiments))
    assert left == [("coordinates/rendering_quadrant_deconv", [2, 3, 4])]
    assert missing_runs.total(left) == "3 core hours"


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

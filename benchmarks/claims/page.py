"""Tables of the claims for ``docs/claims.md`` and the README."""

import itertools
import json
import statistics
from collections.abc import Iterator
from typing import Any

from benchmarks import atari, detection_verdict
from benchmarks.claims import costs
from benchmarks.claims.evidence import NOT_RUN, VERDICTS, Finding, verdict
from benchmarks.claims.paper import GAME_STEPS, SEEDS, Claim, claims
from benchmarks.claims.records import MIN_SEEDS, images, records

PAPER_RECIPE = ("detection/proposals_conv_paper", "detection/proposals_coordconv_paper")
"""Experiments that are as long as a run of the detection grid."""


def number(value: float) -> str:
    """Return a number with three significant digits, or all digits before the point.

    >>> [number(value) for value in (1.0, 0.99996, 0.01234, 8.7, 376.2, 1500.0, -0.0352)]
    ['1', '1', '0.0123', '8.7', '376', '1,500', '-0.0352']
    """
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(finding: Finding) -> str:
    """Return the value of a finding, its interval if seeds differ, and the numbers of seeds."""
    if finding.result == NOT_RUN:
        return "no records"
    value, *ends = map(number, (finding.value, *(finding.interval or ())))
    return value if set(ends) <= {value} else f"{value} ({' to '.join(ends)})"


def seeds(finding: Finding) -> str:
    """Return the numbers of seeds, one number where all experiments have the same.

    >>> seeds(Finding("open", seeds=(5, 1)))
    '5 and 1 seeds'
    >>> seeds(Finding("open", seeds=(1, 1)))
    '1 seed'
    """
    counts = sorted(set(finding.seeds), reverse=True)
    return f"{' and '.join(map(str, counts))} seed{'' if counts == [1] else 's'}"


def summary() -> str:
    """Return the table of verdicts, a row for each claim."""
    lines = ["| claim | the paper reports | measured here | verdict |", "|---|---|---|---|"]
    for claim in claims():
        findings = [criterion.evaluate() for criterion in claim.criteria]
        tried = [pair for pair in zip(claim.criteria, findings, strict=True) if pair[1].result != NOT_RUN]
        texts = [f"{criterion.name}: {measured(finding)}, {seeds(finding)}" for criterion, finding in tried]
        devices = sorted({device for finding in findings for device in finding.devices})
        found = "; ".join([*dict.fromkeys(texts), *(f"on {device}" for device in devices)])
        lines.append(
            f"| {claim.claimed} ({claim.place}) | {claim.reported} | {found or 'nothing'} | **{verdict(findings)}** |"
        )
    return "\n".join(lines)


def evidence() -> str:
    """Return the table of criteria."""
    lines = [
        "| claim | criterion | bound | measured (95 % interval) | seeds | setting | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for claim in claims():
        for criterion in claim.criteria:
            finding = criterion.evaluate()
            name = f"{criterion.name}, which is {finding.case}" if finding.case else criterion.name
            cells = (
                claim.name, name, criterion.bound, measured(finding), ", ".join(map(str, finding.seeds)),
                f"{finding.share:.2g} of the images" if finding.smaller else "", finding.result,
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def commands() -> str:
    """Return the table of commands, and of what the missing runs cost."""
    lines = [
        f"| claim | command | runs without a record, up to {len(SEEDS)} seeds | their cost |",
        "|---|---|---:|---|",
    ]
    for claim in claims():
        default = f"lightning-coordconv sweep {' '.join(claim.experiments)} --seeds {' '.join(map(str, SEEDS))}"
        left = list(missing(claim))
        runs = sum(len(some) for _, some in left)
        chosen = "<br>".join(f"`{command}`" for command in claim.commands or (default,))
        lines.append(f"| {claim.name} | {chosen} | {runs or ''} | {total(left)} |")
    return "\n".join(lines)


def missing(claim: Claim) -> Iterator[tuple[str, list[int]]]:
    """Yield each experiment of a claim with the seeds of which it has no record."""
    for experiment in claim.experiments:
        done = {run["seed"] for run in records(experiment)}
        if left := [seed for seed in SEEDS if seed not in done]:
            yield experiment, left


def core_hours(experiment: str) -> float | None:
    """Return the core hours of a run by the records of its experiment, or of the other games; None without records."""
    if experiment.startswith("detection_verdict/") or experiment in PAPER_RECIPE:
        return detection_verdict.MINUTES / 60
    found = records(experiment)
    if experiment.startswith("rl/"):
        arm = experiment.rpartition("_")[2]
        names = [f"rl/a2c_{game.lower()}_{arm}" for game in atari.GAMES]
        steps = [run["cpu_seconds"] / images(name, run) for name in names for run in records(name)]
        return GAME_STEPS * statistics.fmean(steps) / 3600 if steps else None
    return statistics.fmean(run["cpu_seconds"] for run in found) / 3600 if found else None


def estimate(experiment: str) -> dict[str, Any] | None:
    """Return the row of ``benchmarks.claims.costs`` on an experiment."""
    return next((row for row in json.loads(costs.RESULTS.read_text()) if row["experiment"] == experiment), None)


def total(left: list[tuple[str, list[int]]]) -> str:
    """Return what runs cost together.

    Args:
        left: experiments, and seeds of each.
    """
    hours = {"core": 0.0, "GPU": 0.0}
    memory, unknown = 0.0, 0
    for experiment, some in left:
        if (core := core_hours(experiment)) is not None:
            hours["core"] += len(some) * core
        elif (row := estimate(experiment)) is not None:
            hours["GPU"] += len(some) * row["gpu_hours"]
            memory = max(memory, row["gib"])
        else:
            unknown += len(some)
    parts = [f"{number(value)} {unit} hours" for unit, value in hours.items() if value]
    parts += [f"{memory:.1f} GiB"] if memory else []
    parts += [f"{unknown} runs without an estimate"] if unknown else []
    return ", ".join(parts)


def listing() -> str:
    """Return the runs without a record, each experiment with its seeds, their cost and the claims that need it."""
    lines: list[str] = []
    found: dict[str, tuple[list[int], list[str]]] = {}
    for claim in claims():
        for experiment, left in missing(claim):
            found.setdefault(experiment, (left, []))[1].append(claim.name)
    for experiment, (left, names) in found.items():
        cost = total([(experiment, left)])
        lines.append(f"{experiment}, seeds {' '.join(map(str, left))}: {cost} ({', '.join(names)})")
    count = sum(len(seeds) for seeds, _ in found.values())
    together = total([(experiment, left) for experiment, (left, _) in found.items()])
    return "\n".join([*lines, f"{count} runs: {together}"])


def brief() -> str:
    """Return the verdicts in one paragraph."""
    verdicts = [(verdict([criterion.evaluate() for criterion in claim.criteria]), claim.name) for claim in claims()]
    verdicts.sort(key=lambda pair: VERDICTS.index(pair[0]))
    groups = itertools.groupby(verdicts, key=lambda pair: pair[0])
    parts = [f"**{kind.capitalize()}**: {', '.join(name for _, name in group)}." for kind, group in groups]
    return f"Which claims of the paper hold ([evidence](docs/claims.md))? {' '.join(parts)}"


def rule() -> str:
    """Return the numbers of the rule."""
    return (
        f"An interval needs at least {MIN_SEEDS} seeds of each experiment. Costs are given for {len(SEEDS)} seeds; GPU "
        f"hours assume a GPU that sustains {costs.FLOPS / 1e12:.0f} TFLOP/s, and are too low for small networks."
    )

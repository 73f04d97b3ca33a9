"""Functions that return the tables of ``docs/claims.md`` and the README: verdicts, criteria, costs of missing runs."""

from collections.abc import Iterable, Sequence

from benchmarks.claims import costs
from benchmarks.claims.claim import Claim
from benchmarks.claims.evidence import NOT_RUN, VERDICTS, Best, Count, Criterion, Finding, number, tally, verdict
from benchmarks.claims.missing_runs import missing, total
from benchmarks.claims.paper import SEEDS, claims
from benchmarks.claims.records import MIN_SEEDS


def measured(finding: Finding) -> str:
    """Return the value of a finding, its interval if seeds differ, and the arms with their seeds.

    >>> measured(Finding("holds", 0.9, (0.8, 0.95), detail="5 seeds"))
    '0.900 (0.800 to 0.950; 5 seeds)'
    >>> measured(Finding("not run", detail="CoordConv 0 seeds; convolution 1 seed"))
    'no records of both arms (CoordConv 0 seeds; convolution 1 seed)'
    """
    if finding.result == NOT_RUN:
        return f"no records of both arms ({finding.detail})" if finding.detail else "no records"
    value, *ends = map(number, (finding.value, *(finding.interval or ())))
    inside = [*([] if set(ends) <= {value} else [" to ".join(ends)]), *([finding.detail] if finding.detail else [])]
    return f"{value} ({'; '.join(inside)})" if inside else value


def named(criterion: Criterion | Best | Count, finding: Finding) -> str:
    """Return the name of a criterion, and of the variant that was chosen."""
    return f"{criterion.name}, `{finding.case}`" if finding.case and finding.result != NOT_RUN else criterion.name


def setting(shares: Iterable[tuple[str, float]]) -> str:
    """Return which share of the paper's training there was, by unit the least.

    >>> setting([("images", 0.2), ("optimiser steps", 0.025), ("images", 1)])
    '20 % of the images, 2.5 % of the optimiser steps'
    """
    least: dict[str, float] = {}
    for unit, share in shares:
        least[unit] = min(share, least.get(unit, 1))
    return ", ".join(f"{100 * share:.3g} % of the {unit}" for unit, share in least.items())


def judged(findings: Sequence[Finding]) -> str:
    """Return the verdict on a claim and how many criteria have each result."""
    found = verdict(findings)
    return f"**{found}**" if found == "not run" else f"**{found}** ({tally(findings)})"


def evaluated() -> list[tuple[Claim, list[Finding]]]:
    """Return all claims with what was measured for their criteria."""
    return [(claim, [criterion.evaluate() for criterion in claim.criteria]) for claim in claims()]


def summary() -> str:
    """Return the table of verdicts, a row for each claim."""
    lines = [
        "| claim | the paper reports | measured here | share of the paper's training | verdict |",
        "|---|---|---|---|---|",
    ]
    for claim, findings in evaluated():
        results: dict[str, list[str]] = {}  # by quantity, which can have several bounds
        for criterion, finding in zip(claim.criteria, findings, strict=True):
            run = finding.result != NOT_RUN
            text = f"{named(criterion, finding)}: {measured(finding)}; " if run else f"{criterion.name}: "
            results.setdefault(text, []).append(f"{criterion.bound}: {finding.result}" if run else NOT_RUN)
        texts = [f"{text}{', '.join(outcomes)}" for text, outcomes in results.items()]
        devices = sorted({device for finding in findings for device in finding.devices})
        cells = (
            f"{claim.claimed} ({claim.place})",
            claim.reported,
            "<br>".join([*texts, *(f"on {device}" for device in devices)]),
            setting(share for finding in findings for share in finding.shares) or ("not compared" if devices else ""),
            judged(findings),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def evidence() -> str:
    """Return the table of criteria."""
    lines = [
        "| claim | criterion | bound | measured (95 % interval; seeds) | share of the paper's training | result |",
        "|---|---|---|---|---|---|",
    ]
    for claim, findings in evaluated():
        for criterion, finding in zip(claim.criteria, findings, strict=True):
            cells = (
                claim.name, named(criterion, finding), criterion.bound, measured(finding), setting(finding.shares),
                finding.result,
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
        left = list(missing(claim.experiments))
        chosen = "<br>".join(f"`{command}`" for command in claim.commands or (sweep(claim.experiments),))
        lines.append(f"| {claim.name} | {chosen} | {runs(left)} | {total(left)} |")
        if claim.full and (left := list(missing(claim.full))):
            lines.append(f"| {claim.name}, full size | `{sweep(claim.full)}` | {runs(left)} | {total(left)} |")
    return "\n".join(lines)


def sweep(experiments: Iterable[str]) -> str:
    """Return the command that runs experiments."""
    return f"lightning-coordconv sweep {' '.join(experiments)} --seeds {' '.join(map(str, SEEDS))}"


def runs(left: list[tuple[str, list[int]]]) -> str:
    """Return the number of runs that are left, or nothing if there are none."""
    return str(sum(len(some) for _, some in left) or "")


def brief() -> str:
    """Return the verdicts as a short table."""
    found: dict[str, list[str]] = {kind: [] for kind in VERDICTS}
    for claim, findings in evaluated():
        kind = verdict(findings)
        found[kind].append(claim.name if kind == "not run" else f"{claim.name} ({tally(findings)})")
    head = "Which claims of the paper hold ([evidence](docs/claims.md))? Brackets count the criteria by result."
    if empty := [f"*{kind}*" for kind, names in found.items() if not names]:
        head += f" None of the {sum(map(len, found.values()))} is {' or '.join(empty)}."
    lines = [
        head,
        "",
        "| verdict | claims |",
        "|---|---|",
        *(f"| {kind} | {'; '.join(names)} |" for kind, names in found.items() if names),
    ]
    return "\n".join(lines)


def rule() -> str:
    """Return the numbers of the rule."""
    return (
        f"An interval needs at least {MIN_SEEDS} seeds of each experiment. Costs are given for {len(SEEDS)} seeds; GPU "
        f"hours assume a GPU that sustains {costs.FLOPS / 1e12:.0f} TFLOP/s, and are too low for small networks."
    )

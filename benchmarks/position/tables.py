"""Classes that compare the position benchmark's arms; functions that write the tables of ``docs/when_it_helps.md``."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scipy import stats

from benchmarks.pages import fill
from benchmarks.position import advice, agents
from benchmarks.position.arms import ENCODINGS
from benchmarks.position.configs import TASKS
from benchmarks.results import runs_of

PAGE = Path(__file__).parents[2] / "docs" / "when_it_helps.md"
COMMAND = "python -m benchmarks.position --table"
MIN_SEEDS = 3
"""With fewer pairs of runs no verdict is given."""
Verdict = Literal["helps", "hurts", "no difference", "too few seeds"]
CONTROLS = ("first_constants",)
"""Encodings that are no candidates for the best one."""
HEADS = {
    "plain": "plain, circular padding",
    "zero_padding": "plain, zero padding",
    "first": "CoordConv first",
    "advised": "CoordConv where advised",
}


@dataclass(frozen=True)
class Rows:
    """What the tables need to know of a task.

    Attributes:
        title: what it is about.
        unit: of the metric.
        metric: its name, without the stage.
        lower: whether a lower value is better.
        experiments: names of the experiments by arm.
    """

    title: str
    unit: str
    metric: str
    lower: bool
    experiments: dict[str, str]

    @property
    def baseline(self) -> str:
        """The arm that others are compared to: what one has before one knows of coordinates."""
        return "zero_padding" if "zero_padding" in self.experiments else "plain"

    def values(self, arm: str, stage: str = "test") -> dict[int, float]:
        """Return the metric of each seed that was run."""
        block = {"test": "test", "val": "validation"}[stage]
        runs = runs_of(self.experiments[arm]) if arm in self.experiments else []
        return {run["seed"]: run[block][f"{stage}/{self.metric}"] for run in runs if block in run}

    def best_encoding(self) -> str | None:
        """Return the arm with another encoding that is best in validation; ``None`` where there is none."""
        arms = [f"first_{name}" for name in ENCODINGS if f"first_{name}" in self.experiments]
        scores = {arm: list(self.values(arm, "val").values()) for arm in arms if arm not in CONTROLS}
        known = {arm: statistics.fmean(values) for arm, values in scores.items() if len(values) >= MIN_SEEDS}
        if not known:
            return None
        return min(known, key=known.__getitem__) if self.lower else max(known, key=known.__getitem__)


ROWS = {
    **{
        name: Rows(
            task.title,
            task.kind.unit,
            task.metric,
            task.kind.mode == "min",
            {arm: f"position/{name}_{arm}" for arm in task.arms},
        )
        for name, task in TASKS.items()
    },
    "find_and_touch": Rows("find and touch: agents that pool over the image", "reward", "reward", False,
                           agents.EXPERIMENTS),
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """The mean of paired differences between two arms, positive where the first is better, with its interval.

    Attributes:
        mean: of the differences, in the unit of the metric.
        low: lower end of the 95 % interval of Student's t.
        high: upper end.
        pairs: number of seeds that both arms were run with.
    """

    mean: float
    low: float
    high: float
    pairs: int

    @property
    def verdict(self) -> Verdict:
        """``helps`` where the interval lies above zero, ``hurts`` where it lies below."""
        if self.pairs < MIN_SEEDS:
            return "too few seeds"
        return "helps" if self.low > 0 else "hurts" if self.high < 0 else "no difference"


def difference(ours: dict[int, float], theirs: dict[int, float], lower: bool) -> Difference:
    """Compare two arms seed by seed.

    Args:
        ours: the metric by seed.
        theirs: likewise; only seeds of both count.
        lower: whether a lower metric is better.
    """
    sign = -1 if lower else 1
    found = [sign * (ours[seed] - theirs[seed]) for seed in ours if seed in theirs]
    if len(found) < 2:
        return Difference(found[0] if found else math.nan, -math.inf, math.inf, len(found))
    mean = statistics.fmean(found)
    quantile = float(stats.t.ppf(0.975, len(found) - 1))  # type: ignore[attr-defined]  # made at import
    half = quantile * statistics.stdev(found) / len(found) ** 0.5
    return Difference(mean, mean - half, mean + half, len(found))


def compared(rows: Rows, arm: str, baseline: str) -> Difference:
    """Compare two arms of a task."""
    return difference(rows.values(arm), rows.values(baseline), rows.lower)


def cell(rows: Rows, arm: str | None) -> str:
    """Return mean and standard deviation of an arm over its seeds, as text."""
    values = list(rows.values(arm).values()) if arm else []
    if not values:
        return ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def change(rows: Rows, arm: str | None, baseline: str) -> str:
    """Return the verdict on an arm, with the difference and its interval, as text."""
    if arm is None or not rows.values(arm) or not rows.values(baseline):
        return ""
    found = compared(rows, arm, baseline)
    if found.pairs < MIN_SEEDS:
        return found.verdict
    return f"**{found.verdict}** {found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def weights(rows: Rows, arm: str) -> str:
    """Return the number of weights of an arm, as text."""
    runs = runs_of(rows.experiments[arm]) if arm in rows.experiments else []
    return f"{runs[0]['weights']:,}" if runs else ""


def encoding_name(arm: str | None) -> str:
    return "" if arm is None else arm.removeprefix("first_")


def results() -> str:
    """Return the table of all arms."""
    lines = [
        f"| task | test metric | seeds | weights | with coordinates where advised | {' | '.join(HEADS.values())} | "
        "best other encoding, first |",
        "|---|---|---|---:|---:|" + "---|" * (len(HEADS) + 1),
    ]
    for name, rows in ROWS.items():
        seeds = rows.values(rows.baseline)
        if not seeds:
            continue
        best = rows.best_encoding()
        other = f"{encoding_name(best)}: {cell(rows, best)}" if best else ""
        arms = " | ".join(cell(rows, arm) for arm in HEADS)
        better = "lower is better" if rows.lower else "higher is better"
        lines.append(
            f"| `{name}`: {rows.title} | {rows.unit}, {better} | {len(seeds)} | "
            f"{weights(rows, rows.baseline)} | {weights(rows, 'advised')} | {arms} | {other} |"
        )
    return "\n".join(lines)


def verdicts() -> str:
    """Return the table of differences."""
    lines = [
        "| task | zero padding over circular | CoordConv first over zero padding | CoordConv where advised over zero "
        "padding | best other encoding over CoordConv first |",
        "|---|---|---|---|---|",
    ]
    for name, rows in ROWS.items():
        if not rows.values(rows.baseline):
            continue
        cells = [
            change(rows, "zero_padding", "plain"),
            change(rows, "first", rows.baseline),
            change(rows, "advised", rows.baseline),
            change(rows, rows.best_encoding(), "first"),
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def frames() -> str:
    """Return the table of tasks whose coordinates can be those of the full image, or physical, or not."""
    lines = [
        "| task | plain, zero padding | CoordConv, right frame | CoordConv, coordinates of the input | right frame "
        "over zero padding | coordinates of the input over zero padding |",
        "|---|---|---|---|---|---|",
    ]
    for name, rows in ROWS.items():
        if "first_unframed" in rows.experiments and rows.values("first_unframed"):
            arms = ("zero_padding", "first", "first_unframed")
            cells = [cell(rows, arm) for arm in arms] + [change(rows, arm, "zero_padding") for arm in arms[1:]]
            lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def encodings() -> str:
    """Return the table of encodings in the first convolution, and of none."""
    chosen = {name: rows for name, rows in ROWS.items() if "first_constants" in rows.experiments}
    lines = [f"| seen by the first convolution | {' | '.join(f'`{name}`' for name in chosen)} |"]
    lines.append("|---|" + "---|" * len(chosen))
    arms = {"nothing": "zero_padding", "cartesian": "first"}
    arms |= {name: f"first_{name}" for name in ENCODINGS if name != "cartesian"}
    for name, arm in arms.items():
        if any(rows.values(arm) for rows in chosen.values()):
            cells = [f"{cell(rows, arm)} ({len(rows.values(arm))})" for rows in chosen.values()]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def is_right(convert: bool | None, verdict: Verdict) -> bool | None:
    """Return whether the advice was right; ``None`` where training gave no verdict."""
    if verdict == "too few seeds":
        return None
    return convert is not None and convert == (verdict == "helps")


def advised() -> str:
    """Return the table of the advice against what training showed, and a sentence with the count."""
    lines = [
        "| task | advice | where, if converted | training: CoordConv where advised over zero padding | advice was |",
        "|---|---|---|---|---|",
    ]
    right = decided = 0
    for name, rows in ROWS.items():
        found = advice.read(name)
        if found is None or not rows.values("advised"):
            continue
        convert = found["convert"]
        said = {True: "convert", False: "do not convert", None: "undecided"}[convert]
        said += f", {found['encoding']}" if found["encoding"] else ""
        where = ", ".join(f"`{layer}`" for layer in found["where"])
        verdict = compared(rows, "advised", rows.baseline).verdict
        correct = is_right(convert, verdict)
        decided += correct is not None
        right += correct is True
        answer = {True: "right", False: "wrong", None: ""}[correct]
        lines.append(f"| `{name}` | {said} | {where} | {verdict} | {answer} |")
    return "\n".join([*lines, "", f"The advice was right on {right} of {decided} tasks."])


def summary() -> str:
    """Return on how many tasks each arm helps, hurts and makes no difference."""
    sentences = []
    for arm, name in (("first", "CoordConv first"), ("advised", "CoordConv where advised")):
        found = [compared(rows, arm, rows.baseline).verdict for rows in ROWS.values() if rows.values(arm)]
        given = [verdict for verdict in found if verdict != "too few seeds"]
        counts = [f"{verdict} on {given.count(verdict)}" for verdict in ("helps", "hurts")]
        none = given.count("no difference")
        sentences.append(f"{name} {', '.join(counts)} and makes no difference on {none} of {len(given)} tasks.")
    return "\n".join(sentences)


TABLES: dict[str, Callable[[], str]] = {
    "summary": summary,
    "results": results,
    "verdicts": verdicts,
    "frames": frames,
    "encodings": encodings,
    "advice": advised,
}


def write() -> None:
    """Write all tables into the page."""
    fill(PAGE, COMMAND, TABLES)

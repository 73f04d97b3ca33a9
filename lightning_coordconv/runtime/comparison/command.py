"""The command ``lightning-coordconv compare``: tables and learning curves of runs, with means over seeds."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from lightning_coordconv.core.files import complete_file, write_text
from lightning_coordconv.runtime.comparison.arms import Arm, default_metrics, gather
from lightning_coordconv.runtime.comparison.figure import draw
from lightning_coordconv.runtime.comparison.runs import Run, find_runs
from lightning_coordconv.runtime.comparison.tables import make_rows, to_csv, to_markdown
from lightning_coordconv.runtime.errors import OneLineParser


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = OneLineParser(
        "lightning-coordconv compare",
        description="Compare runs: gather those that differ in the seed only, and print means, intervals and paired "
        "differences. Reads what `lightning-coordconv fit`, Lightning's CSVLogger and TensorBoard write.",
    )
    parser.add_argument("folders", nargs="+", type=Path, help="folders of runs, such as logs/")
    parser.add_argument(
        "--metric", nargs="+", help="metrics to compare; by default those of tests, or else of validation"
    )
    parser.add_argument("--baseline", help="the arm that others are compared with; the first by default")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the printed tables to a file")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write all rows to a file, with each seed's value")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw learning curves into a PNG file")
    return parser


def main(args: Sequence[str]) -> None:
    """Print a table of runs, and write the files that are asked for."""
    arguments = make_parser().parse_args(args)
    runs = find_runs(arguments.folders)
    written = [path for path in (arguments.markdown, arguments.csv, arguments.figure) if path is not None]
    if len({path.resolve() for path in written}) < len(written):
        raise ValueError("--markdown, --csv and --figure must be different files")
    for path in written:
        refuse_folder_of_a_run(path, runs)
    arms = gather(runs)
    metrics = choose_metrics(arms, arguments.metric)
    baseline = choose_baseline(arms, arguments.baseline)
    text = to_markdown(arms, metrics, baseline)
    print(text)
    if arguments.markdown:
        write_text(arguments.markdown, text + "\n")
    if arguments.csv:
        write_text(arguments.csv, to_csv(make_rows(arms, metrics, baseline)))
    if arguments.figure:
        figure = draw(arms, metrics)
        with complete_file(arguments.figure) as part:
            figure.savefig(part, dpi=120, format="png", bbox_inches="tight")


def refuse_folder_of_a_run(path: Path, runs: Sequence[Run]) -> None:
    """Raise ValueError if a file would be written into the folder of a run."""
    folders = {(run.path if run.path.is_dir() else run.path.parent).resolve() for run in runs}
    if path.resolve().parent in folders:
        raise ValueError(f"{path} is in the folder of a run: name a file elsewhere")


def choose_metrics(arms: Sequence[Arm], wanted: Sequence[str] | None) -> list[str]:
    """Return the metrics to compare.

    Raises:
        ValueError: if no arm has one that is wanted.
    """
    if not wanted:
        return default_metrics(arms)
    known = {name for arm in arms for run in arm.runs for name in run.metrics}
    for metric in wanted:
        if metric not in known:
            raise ValueError(f"no run has a metric {metric!r}: the metrics are {', '.join(sorted(known))}")
    return list(wanted)


def choose_baseline(arms: Sequence[Arm], name: str | None) -> Arm:
    """Return the arm of a name, or the first.

    Raises:
        ValueError: if there is none of that name.
    """
    for arm in arms:
        if name in (None, arm.name):
            return arm
    raise ValueError(f"there is no arm {name!r}: the arms are {', '.join(arm.name for arm in arms)}")

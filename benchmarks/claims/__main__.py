"""Writes ``docs/claims.md`` and README verdicts, or lists missing runs: ``python -m benchmarks.claims [--missing]``.

``python -m benchmarks.claims --missing`` prints the runs without a record that the claims need, and what they cost.
"""

import argparse
from pathlib import Path

from benchmarks.claims import missing_runs, page
from benchmarks.pages import fill

ROOT = Path(__file__).parents[2]
COMMAND = "python -m benchmarks.claims"
PARTS = {"claims": page.summary, "rule": page.rule, "evidence": page.evidence, "commands": page.commands}


def write() -> None:
    """Write the page and the README's table."""
    fill(ROOT / "docs" / "claims.md", COMMAND, PARTS)
    fill(ROOT / "README.md", COMMAND, {"verdicts": page.brief})


def main() -> None:
    """Print what is missing, or write the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--missing", action="store_true", help="print the runs without a record and what they cost")
    if parser.parse_args().missing:
        print(missing_runs.listing())
    else:
        write()


if __name__ == "__main__":
    main()

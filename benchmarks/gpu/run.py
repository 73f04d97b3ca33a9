"""Command of the GPU benchmark: runs parts, each in its own process, and keeps their results in one JSON file."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.parts import PARTS, SMOKE, NotPossibleError, Row, Setting
from benchmarks.gpu.tables import table
from benchmarks.measure import environment

RESULTS = Path(__file__).parents[1] / "results" / "gpu.json"
ALL = PARTS | SMOKE
PATIENCE = 10  # a CPU may be slow and busy: there only what hangs is stopped
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are not done, print their tables, and return 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--out", type=Path, help=f"the file of results; {RESULTS.name} in benchmarks/results on a GPU")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="all by default")
    parser.add_argument("--smoke", nargs="*", metavar="EXPERIMENT", help="two steps of each config, or of those named")
    parser.add_argument("--part", choices=list(ALL), help=argparse.SUPPRESS)  # measure it in this process
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    names = tuple(options.smoke or ())
    if options.part:
        return measure(options.part, names, options.rows)
    if options.out is None and DEVICE.type == "cpu":
        parser.error("there is no CUDA device: name a file for the results of the CPU with --out")
    out = options.out or RESULTS
    machine = environment(DEVICE) | {"cards": torch.cuda.device_count()}
    results = json.loads(out.read_text()) if out.exists() else {"environment": machine, "parts": {}}
    if results["environment"] != machine:
        parser.error(f"{out} holds results of another environment, {results['environment']}: name another --out")
    chosen = options.parts if options.smoke is None else list(SMOKE)
    for name in chosen:
        part = results["parts"].get(name)
        if part is None or part["status"] != "done" or name in SMOKE:
            part = results["parts"][name] = run(name, names)
            write(out, results)
        print(f"\n## {name}: {part['status']} after {part['seconds']:.0f} s {part['message']}".rstrip())
        print(table(part["rows"]), flush=True)
    failed = [name for name in chosen if results["parts"][name]["status"] == "failed"]
    print(f"\n{out}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return int(bool(failed))


def run(name: str, names: Sequence[str]) -> dict[str, Any]:
    """Run a part in another process, which is stopped at the part's time limit."""
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder, "rows"), Path(folder, "log")
        rows.touch()
        command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, "--rows", str(rows)]
        command += ["--smoke", *names] if name in SMOKE else []
        limit = ALL[name].limit * (1 if DEVICE.type == "cuda" else PATIENCE)
        begin = time.perf_counter()
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:  # at the limit, or interrupted: with the processes that the part has started
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = round(time.perf_counter() - begin, 1)
        found: list[Row] = [json.loads(line) for line in rows.read_text().splitlines() if line.endswith("}")]
        reason = next((row["skipped"] for row in found if "skipped" in row), "")
        status = "time limit" if code is None else "failed" if code else "skipped" if reason else "done"
        message = "\n".join(log.read_text().splitlines()[-15:]) if status == "failed" else reason
    measured = [row for row in found if "skipped" not in row]
    return {"status": status, "message": message, "seconds": seconds, "limit": limit, "rows": measured}


def measure(name: str, names: tuple[str, ...], path: Path) -> int:
    """Measure a part in this process, and append each row to a file as soon as it is known."""
    torch.manual_seed(0)
    with path.open("a") as file:
        try:
            for row in ALL[name].rows(Setting(DEVICE, DEVICE.type == "cpu", names)):
                print(json.dumps(row), file=file, flush=True)
        except NotPossibleError as error:
            print(json.dumps({"skipped": str(error)}), file=file)
    return 0


def write(path: Path, results: dict[str, Any]) -> None:
    """Replace the file of results at once, so that an interruption leaves the old or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)

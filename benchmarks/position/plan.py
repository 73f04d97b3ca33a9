"""Functions that list the position benchmark's training runs in their order, find which are done, and train one."""

from collections.abc import Iterator

from benchmarks.position import agents
from benchmarks.position.configs import TASKS
from benchmarks.position.run import record_path, run

AGENTS = "find_and_touch"
ENCODED = ("first_radius", "first_polar", "first_sinusoidal", "first_learned_grid", "first_constants")
"""Arms that only compare encodings."""
ENCODING_SEEDS = 3
"""They are run with so many of the seeds."""


def runs(tasks: list[str], seeds: list[int]) -> Iterator[tuple[str, str, int]]:
    """Yield task, arm and seed of each run, seeds outermost; arms that only compare encodings come last."""
    arms = {task: list(agents.EXPERIMENTS if task == AGENTS else TASKS[task].arms) for task in tasks}
    for late in (False, True):
        for seed in seeds[:ENCODING_SEEDS] if late else seeds:
            for task in tasks:
                yield from ((task, arm, seed) for arm in arms[task] if (arm in ENCODED) == late)


def is_done(task: str, arm: str, seed: int) -> bool:
    """Return whether there is a record of a run."""
    path = agents.record_path(arm, seed) if task == AGENTS else record_path(task, arm, seed)
    return path.is_file()


def train(task: str, arm: str, seed: int) -> str:
    """Do one run, and return a line about it."""
    return agents.run(arm, seed) if task == AGENTS else run(task, arm, seed)


def listing(tasks: list[str], seeds: list[int]) -> str:
    """Return a line for each task: its arms, and how many of its runs are done."""
    lines = []
    for task in tasks:
        every = list(runs([task], seeds))
        done = sum(is_done(*key) for key in every)
        arms = dict.fromkeys(arm for _, arm, _ in every)
        lines.append(f"{task:20} {done:3} of {len(every)} runs done; {', '.join(arms)}")
    return "\n".join(lines)

"""Which runs there are, in which order, and which of them are done."""

from collections.abc import Iterator

from benchmarks.position import agents
from benchmarks.position.registry import ENCODED, TASKS
from benchmarks.position.run import record_path, run

AGENTS = "find_and_touch"
ENCODING_SEEDS = 3
"""Arms of the tasks that compare all encodings are run with the seeds below this one."""


def runs(tasks: list[str], seeds: list[int]) -> Iterator[tuple[str, str, int]]:
    """Yield task, arm and seed of each run, seeds outermost."""
    for seed in seeds:
        for task in tasks:
            for arm in agents.EXPERIMENTS if task == AGENTS else TASKS[task].arms:
                if seed < ENCODING_SEEDS or arm not in ENCODED:
                    yield task, arm, seed


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

"""Runs the position benchmark: ``python -m benchmarks.position {--list,--run,--advise,--table,--foreign}``.

The tasks are the configs of ``configs/position``, which ``lightning-coordconv fit`` trains too, and find-and-touch.
They are small, and position matters in some of them. Networks that differ in what they see of position train on each,
with the same steps, data and first weights. ``--run`` trains what has no record, all arms of one seed before the
next, so that an interruption leaves complete seeds. ``--advise`` runs ``lightning_coordconv.position.advise`` on each
task and keeps what it says. ``--table`` writes the tables of ``docs/when_it_helps.md``. ``--foreign`` runs ``advise``
on models and data sets that are not of this package, for ``docs/advice.md``; it needs segmentation-models-pytorch.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from benchmarks.position import advice, foreign, tables
from benchmarks.position.configs import TASKS
from benchmarks.position.plan import AGENTS, listing, runs, train
from benchmarks.position.run import prepare_worker


def main() -> int:
    """List, run, advise or tabulate, and return 1 if a run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.position", description=__doc__.splitlines()[0])
    names = [*TASKS, AGENTS]
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--list", nargs="*", choices=names, metavar="TASK")
    action.add_argument("--run", nargs="*", choices=names, metavar="TASK")
    action.add_argument("--advise", nargs="*", choices=names, metavar="TASK")
    action.add_argument("--table", action="store_true")
    action.add_argument("--foreign", action="store_true")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    arguments = parser.parse_args()
    if arguments.list is not None:
        print(listing(arguments.list or names, arguments.seeds))
    elif arguments.run is not None:
        with ProcessPoolExecutor(arguments.jobs, get_context("spawn"), prepare_worker) as pool:
            waiting = [pool.submit(train, *key) for key in runs(arguments.run or names, arguments.seeds)]
            for future in as_completed(waiting):
                print(future.exception() or future.result(), flush=True)
        return int(any(future.exception() for future in waiting))
    elif arguments.advise is not None:
        prepare_worker()
        for name in arguments.advise or names:
            print(name, *advice.record(name)["sentences"], sep="\n  ", flush=True)
    elif arguments.foreign:
        prepare_worker()
        foreign.record()
    else:
        tables.write()
    return 0


if __name__ == "__main__":
    sys.exit(main())

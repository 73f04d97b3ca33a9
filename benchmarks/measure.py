"""Functions that time other functions side by side, measure peak memory, and describe the machine."""

import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

Step = Callable[[], object]


class Timing(NamedTuple):
    """How long a function took, and how long compared to the first one, in the same round."""

    milliseconds: float  # median
    ratio: float  # median
    low: float  # quartiles of the ratio
    high: float
    rounds: int


def compare(
    steps: Mapping[str, Step], device: torch.device, seconds: float, generator: random.Random
) -> dict[str, Timing]:
    """Time functions in rounds, each of them once a round in shuffled order, and compare them to the first.

    Args:
        steps: Functions by name.
        device: Where they compute.
        seconds: About how long to measure altogether; at least 11 rounds are run.
        generator: Shuffles.

    Returns:
        A timing by name.
    """
    names = list(steps)
    for step in steps.values():
        for _ in range(3):
            step()
    # calls a sample, so that one lasts a few milliseconds
    calls = max(1, round(0.004 / _sample(steps[names[0]], 3, device)))
    samples: dict[str, list[float]] = {name: [] for name in names}
    end = time.perf_counter() + seconds
    while len(samples[names[0]]) < 11 or (time.perf_counter() < end and len(samples[names[0]]) < 301):
        for name in generator.sample(names, len(names)):
            samples[name].append(_sample(steps[name], calls, device))
    timings = {}
    for name, times in samples.items():
        ratios = [mine / first for mine, first in zip(times, samples[names[0]], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        timings[name] = Timing(statistics.median(times) * 1e3, middle, low, high, len(ratios))
    return timings


def _sample(step: Step, calls: int, device: torch.device) -> float:
    """Return the seconds that a call takes, over a few calls."""
    if device.type == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        start.record()
        for _ in range(calls):
            step()
        stop.record()
        stop.synchronize()
        return float(start.elapsed_time(stop)) / 1e3 / calls
    begin = time.perf_counter()
    for _ in range(calls):
        step()
    return (time.perf_counter() - begin) / calls


def peak_bytes(step: Step, device: torch.device) -> int:
    """Return the most bytes that torch's allocator had given out at once while a function ran, beyond those before.

    On the CPU this includes the scratch memory of oneDNN's convolutions, which torch's allocator serves too.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    # The public tables only sum up by operator; the single allocations are here.
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = profiler.profiler.kineto_results.events()
    allocations = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    live = peak = 0
    for _, size in allocations:
        live += size
        peak = max(peak, live)
    return peak


def environment(device: torch.device) -> dict[str, Any]:
    """Return what the numbers depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return versions | {"device": device.type, "name": name, "threads": torch.get_num_threads()}

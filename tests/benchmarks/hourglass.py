"""Our network beside an 8-stack hourglass: `python -m tests.benchmarks.hourglass HOURGLASS.onnx`.

Both are bare sessions made as the service makes its own, in the same precision, on exactly one image, each in a process
of its own so that peak memory is its own. The hourglass is measured before and after ours: where the two differ by more
than 5 %, the machine was not idle and the status is 1. `python -m export.hourglass` writes the file.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from models.spec.contract import INPUT, OUTPUTS, SHIPPED_MODEL, ModelSpec
from models.spec.paper import TABLE_4
from service.host import first_gpu, peak_resident_bytes, processor_name, resident_bytes, usable_cpus
from service.inference.providers import PROVIDERS, open_session
from service.report.table4 import noise, summarise, time_runs
from service.settings import Settings

LARGEST_DRIFT = 0.05
WARM_UP_RUNS = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hourglass", type=Path)
    parser.add_argument("--model", type=Path, default=SHIPPED_MODEL, help="ours (default: the shipped float file)")
    parser.add_argument("-n", "--runs", type=int, default=50, help="timed runs of each (default: 50)")
    options = parser.parse_args()
    before = in_own_process(options.hourglass, options.runs)
    plan = {name: before[name] for name in ("provider", "precision")}  # there is no int8 hourglass, so none of ours
    ours = in_own_process(options.model, options.runs, **plan)
    after = in_own_process(options.hourglass, options.runs, **plan)
    show(ours, before)
    drift = abs(after["median_ms"] / before["median_ms"] - 1)
    print(f"\nthe hourglass again after ours: median {after['median_ms']:.1f} ms, {drift:.1%} from before")
    if drift > LARGEST_DRIFT:
        print(f"rejected: more than {LARGEST_DRIFT:.0%}; the machine was not idle", file=sys.stderr)
        return 1
    return 0


def in_own_process(model: Path, runs: int, **plan: str) -> dict[str, Any]:
    """What `measure` finds in a process that does nothing else."""
    code = f"from tests.benchmarks import hourglass; hourglass.measure({str(model)!r}, {runs}, **{plan!r})"
    answer = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(answer.stdout))


def measure(model: str, runs: int, **plan: str) -> None:
    """Time and weigh one model file in this process; prints JSON."""
    settings = Settings.load(model=model, **plan)
    gpu, before = first_gpu(), resident_bytes()
    device_before = gpu.memory_used() if gpu else 0.0
    taken, session = open_session(settings, settings.threads or usable_cpus(), ModelSpec.statement)
    session_mib = (resident_bytes() - before) / 2**20
    images = noise(session.get_inputs()[0].shape[1])

    def run() -> object:
        return session.run(OUTPUTS[:1], {INPUT: images})

    time_runs(run, WARM_UP_RUNS)
    time = summarise(time_runs(run, runs), "now").model_dump()
    memory = {"peak_mib": peak_resident_bytes() / 2**20, "session_mib": session_mib}
    if gpu and PROVIDERS[taken.provider].on_gpu:
        memory["device_mib"] = (gpu.memory_used() - device_before) / 2**20
    print(json.dumps({"provider": taken.provider, "precision": taken.precision, **time, **memory}))


def show(ours: dict[str, Any], hourglass: dict[str, Any]) -> None:
    """Print both side by side, each ratio the way round that the paper's figures suggest."""
    theirs, paper = TABLE_4[4], TABLE_4[6]
    assert theirs.time_ms and theirs.memory_mib and paper.time_ms and paper.memory_mib
    print(f"{processor_name()}, usable CPUs: {usable_cpus()}; {ours['provider']}, {ours['precision']}")
    print(f"one image, {ours['runs']} warm runs each, each network in a process of its own\n")
    print(f"{'':<28}{'ours':>16}{'hourglass':>16}")
    spreads = [f"{each['mean_ms']:.1f} ± {each['deviation_ms']:.1f}" for each in (ours, hourglass)]
    print(f"{'time, mean, ms':<28}{spreads[0]:>16}{spreads[1]:>16}")
    for name, mine, others in (
        ("time, median, ms", ours["median_ms"], hourglass["median_ms"]),
        ("  in the paper, on a GPU", paper.time_ms, theirs.time_ms),
    ):
        print(f"{name:<28}{mine:>16.1f}{others:>16.1f}   hourglass / ours {others / mine:.2f}")
    memories = [
        (name, ours[key], hourglass[key])
        for name, key in (
            ("peak resident set, MiB", "peak_mib"),
            ("runtime and session, MiB", "session_mib"),
            ("device memory, MiB", "device_mib"),
        )
        if key in ours
    ]
    for name, mine, others in (*memories, ("  in the paper, on a GPU", paper.memory_mib, theirs.memory_mib)):
        print(f"{name:<28}{mine:>16.0f}{others:>16.0f}   ours / hourglass {mine / others:.2f}")


if __name__ == "__main__":
    sys.exit(main())

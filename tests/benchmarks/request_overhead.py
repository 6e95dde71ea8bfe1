"""How much longer a request takes than the network's own run: `python -m tests.benchmarks.request_overhead`.

Starts the real service, then takes turns: one request over HTTP by one client, one bare session run here, in a process
of its own that sleeps while the service works. Prints medians and their ratio, and judges nothing.
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx

from models.crop import Box
from service.cpus import processor_name, usable_cpus
from service.engine import OnnxEngine
from service.images import prepare
from service.settings import Settings

PHOTO = Path(__file__).parents[1] / "photos" / "astronaut.jpg"
BOX = Box(60, 10, 300, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--rounds", type=int, default=30, help="timed rounds (default: 30)")
    rounds = parser.parse_args().rounds
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            measure(listening(process), rounds)
        finally:
            process.terminate()


def listening(process: "subprocess.Popen[str]") -> str:
    """The service's address, when it has told it."""
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if found := re.search(r"listening on (http://\S+)", line):
            return found[1]
    raise SystemExit("the service did not start:\n" + "".join(told))


def measure(url: str, rounds: int) -> None:
    settings = Settings.load()
    photo = PHOTO.read_bytes()
    crops = prepare(photo, (BOX,), settings.max_pixels).pixels
    engine = OnnxEngine(settings)
    requests, runs = [], []
    with httpx.Client(base_url=url, timeout=60) as client:
        query = {"boxes": f"{BOX.x},{BOX.y},{BOX.width},{BOX.height}"}
        for index in range(rounds + 3):
            start = time.perf_counter()
            client.post("/pose", params=query, content=photo).raise_for_status()
            middle = time.perf_counter()
            engine.run(crops)
            if index >= 3:  # the first rounds warm up
                requests.append(middle - start)
                runs.append(time.perf_counter() - middle)
    report(engine, requests, runs)


def report(engine: OnnxEngine, requests: list[float], runs: list[float]) -> None:
    request, run = statistics.median(requests), statistics.median(runs)
    print(f"processor            {processor_name()}, {usable_cpus()} usable")
    print(f"engine               {engine.info.name} on {engine.info.provider}, {engine.info.precision}")
    print(f"rounds               {len(runs)}, one client, one image of 512 x 512 with one box")
    print(f"request, median      {request * 1000:.1f} ms")
    print(f"session run, median  {run * 1000:.1f} ms (bare session in the benchmark's own process)")
    print(f"ratio                {request / run:.3f}")


if __name__ == "__main__":
    main()

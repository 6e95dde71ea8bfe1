"""How fast the service is: `python -m tests.benchmarks [raw] [path] [load] [peers] [plot]`.

raw    the bare session: providers, precisions, threads, batches, streams
path   HTTP, decoding and cropping, with a network that answers at once
load   the service over HTTP: clients, open arrivals, small and large photos
peers  the same model and photos behind other servers, each in an environment of its own under .venv-peers
plot   plots of what load and peers have found

Prints figures, writes them as JSON, and judges nothing. The service's settings (DSNT_POSE_*) hold here as well.
"""

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from tests.benchmarks import comparison, load, path, raw, results

_PARTS: Final = {"raw": raw, "path": path, "load": load, "peers": comparison}
_MINUTES: Final = {"raw": 2.0, "path": 1.0, "load": 9.0, "peers": 10.0}


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="+", choices=[*_PARTS, "plot"], metavar="part", help=", ".join([*_PARTS, "plot"])
    )
    parser.add_argument("--pace", type=float, default=1.0, help="factor on every part's time, such as 0.1 for a try")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="folder of the JSON files and plots")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of every `finally`: no server is left behind
    machine = results.machine()
    print(f"{machine['processor']}, {machine['usable_cpus']} usable CPUs, {machine['versions']}\n")
    for name in chosen.parts:
        if name == "plot":
            from tests.benchmarks import plot  # noqa: PLC0415 - needs matplotlib, which serving does not

            plot.draw(chosen.out)
        else:
            minutes = _MINUTES[name] * chosen.pace
            print(f"{name}, about {minutes:.1f} minutes")
            results.save(chosen.out, name, _PARTS[name].measure(minutes * 60))
            print()


if __name__ == "__main__":
    main()

"""Plots for the README: the service by number of clients, and beside other servers."""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.benchmarks import results
from tests.benchmarks.comparison import OURS

_INK: Final = "#1f4e79"
_SECOND: Final = "#c55a11"
_SIZE: Final = (7.2, 3.0)


def draw(folder: Path) -> None:
    """Write `load.svg` and `peers.svg` beside the figures, as far as there are any."""
    mpl.rcParams.update({"svg.hashsalt": "dsnt-pose", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "legend.frameon": False})
    for part, plotted in (("load", _load), ("peers", _peers)):
        if (folder / f"{part}.json").is_file():
            figures = results.load(folder, part)
            figure, axes = plt.subplots(1, 2, figsize=_SIZE)
            plotted(figures, *axes)
            _save(figure, folder / f"{part}.svg", figures)


def _load(figures: dict[str, Any], throughput: Axes, latency: Axes) -> None:
    passes = figures["closed"]
    clients = [found["clients"] for found in passes]
    best = max(batch["images_per_second"] for batch in figures["session"])
    throughput.axhline(best, color="0.6", linestyle="--", label="bare session at its best")
    throughput.axhline(figures["cores"]["allowed_per_second"], color="0.6", linestyle=":", label="what the cores allow")
    throughput.plot(clients, [found["per_second"] for found in passes], "o-", color=_INK, label="over HTTP")
    throughput.set(ylabel="images/s", ylim=(0, None))
    latency.plot(clients, [found["p99_ms"] for found in passes], "s--", color=_SECOND, label="p99")
    latency.plot(clients, [found["p50_ms"] for found in passes], "o-", color=_INK, label="p50")
    latency.axhline(figures["session"][0]["median_ms"], color="0.6", linestyle="--", label="bare session, one image")
    latency.set(ylabel="ms", yscale="log")
    for axes in (throughput, latency):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="clients", xticks=clients, xticklabels=clients)
        axes.legend()


def _peers(figures: dict[str, Any], throughput: Axes, latency: Axes) -> None:
    servers = {name: found["passes"] for name, found in figures["servers"].items() if "passes" in found}
    names = list(reversed(servers))
    colours = [_INK if name == OURS else "0.7" for name in names]
    alone, many = ([servers[name][index] for name in names] for index in (0, 1))
    bars = throughput.barh(names, [found["per_second"] for found in many], color=colours)
    throughput.bar_label(bars, fmt="%.1f", padding=2)
    throughput.set(xlabel=f"images/s, {many[0]['clients']} clients")
    bars = latency.barh(names, [found["p50_ms"] or 0 for found in alone], color=colours)
    latency.bar_label(bars, fmt="%.0f", padding=2)
    latency.set(xlabel="ms, one client, median")


def _save(figure: Figure, path: Path, figures: dict[str, Any]) -> None:
    machine = figures["machine"]
    engine = f"{figures['provider']}, {figures['precision']}, {figures['threads']} threads"
    title = f"{machine['processor']}, {machine['usable_cpus']} usable CPUs; {engine}"
    figure.suptitle(title, fontsize=8, color="0.4")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)

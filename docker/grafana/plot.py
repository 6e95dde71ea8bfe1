"""Draw what the dashboards show where there is no Grafana: `python docker/grafana/plot.py http://127.0.0.1:9090`.

Asks a Prometheus every panel's queries for the last hour, or as long as it is told, and draws the answers.
"""

import argparse
import json
import math
import re
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, PercentFormatter

FOLDER = Path(__file__).parent / "dashboards"
COLUMNS = 4

mpl.rcParams.update({"svg.hashsalt": "dsnt-pose", "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False})


def main() -> None:
    """Ask and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="where Prometheus answers")
    parser.add_argument("-o", "--output", type=Path, default=Path("panels.svg"), metavar="FILE")
    parser.add_argument("--seconds", type=int, default=3600, metavar="N", help="how far to look back (default: 3600)")
    parser.add_argument("--rate-interval", default="1m", metavar="TIME", help="$__rate_interval (default: 1m)")
    chosen = parser.parse_args()
    draw(_Prometheus(chosen.url, chosen.seconds, chosen.rate_interval), chosen.output)


class _Prometheus:
    def __init__(self, url: str, seconds: int, rate_interval: str) -> None:
        self._url = url
        self._rate_interval = rate_interval
        self._end = time.time()
        self._start = self._end - seconds
        self._step = max(1, seconds // 120)

    def ask(self, target: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
        """Points (seconds before now, value) of each series by its legend."""
        query = target["expr"].replace("$__rate_interval", self._rate_interval)
        span = {"start": self._start, "end": self._end, "step": self._step}
        parameters = urllib.parse.urlencode({"query": query, **span})
        with urllib.request.urlopen(f"{self._url}/api/v1/query_range?{parameters}") as answer:
            found = json.load(answer)["data"]["result"]
        return {_legend(target, series["metric"]): self._points(series["values"]) for series in found}

    def _points(self, values: list[tuple[float, str]]) -> list[tuple[float, float]]:
        points = [(moment - self._end, float(value)) for moment, value in values]
        return [point for point in points if math.isfinite(point[1])]


def _legend(target: dict[str, Any], labels: dict[str, str]) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), target["legendFormat"])


def draw(prometheus: _Prometheus, output: Path) -> None:
    """One small plot for each panel of each dashboard."""
    boards = [json.loads((FOLDER / name).read_text()) for name in ("pose-service.json", "table-4.json")]
    panels = [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]
    rows = math.ceil(len(panels) / COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 2.4 * rows), layout="constrained")
    for axis, panel in zip(axes.flat, panels, strict=False):
        series = {k: points for target in panel["targets"] for k, points in prometheus.ask(target).items() if points}
        {"timeseries": _lines, "heatmap": _heatmap, "bargauge": _bars}[panel["type"]](axis, series)
        axis.set_title(panel["title"])
        _unit(axis.xaxis if panel["type"] == "bargauge" else axis.yaxis, panel)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.supxlabel("seconds before the end", fontsize=8)
    figure.savefig(output, dpi=80, metadata={"Date": None})


def _lines(axis: Axes, series: dict[str, list[tuple[float, float]]]) -> None:
    busy = {legend: points for legend, points in series.items() if any(value for _, value in points)} or series
    for legend, points in busy.items():
        axis.plot(*zip(*points, strict=True), label=legend, linewidth=1)
    axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
    axis.legend(fontsize=6, frameon=False)


def _heatmap(axis: Axes, series: dict[str, list[tuple[float, float]]]) -> None:
    """Cumulative buckets as what each holds alone."""
    bounds = sorted(series, key=float)
    moments = [moment for moment, _ in series[bounds[0]]]
    below = [0.0] * len(moments)
    held = []
    for bound in bounds:
        counts = [value for _, value in series[bound]]
        held.append([count - less for count, less in zip(counts, below, strict=True)])
        below = counts
    axis.pcolormesh(moments, range(len(bounds)), held, cmap="Blues", shading="nearest", rasterized=True)
    axis.set_yticks(range(len(bounds)), bounds)


def _bars(axis: Axes, series: dict[str, list[tuple[float, float]]]) -> None:
    names = list(reversed(series))
    colours = ["tab:orange" if name.startswith("here") else "lightsteelblue" for name in names]
    axis.barh(names, [series[name][-1][1] for name in names], color=colours)
    axis.set_yticks([])
    for row, name in enumerate(names):
        axis.text(0, row, f" {name}", va="center", fontsize=7)


def _unit(axis: Any, panel: dict[str, Any]) -> None:
    if panel["type"] == "heatmap":
        return
    unit = panel["fieldConfig"]["defaults"]["unit"]
    text = {"s": "s", "bytes": "B", "reqps": "/s", "si:px": "px"}.get(unit)
    if unit == "percentunit":
        axis.set_major_formatter(PercentFormatter(1))
    elif text:
        axis.set_major_formatter(EngFormatter(text, sep=""))


if __name__ == "__main__":
    main()

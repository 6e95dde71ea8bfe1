"""What docker/ says to Prometheus, Alertmanager and Grafana, and a client that asks Prometheus."""

import json
import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"

SPEED = 15
"""How many times faster than life `accelerated` rules run: a scrape each second, 20 s for what was 5 minutes."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NOT_METRICS = {"and", "or", "unless", "by", "on", "group_left"}


def rules() -> list[dict[str, Any]]:
    """All recording and alert rules."""
    files = [yaml.safe_load((DOCKER / "prometheus" / name).read_text()) for name in ("recording.yml", "alerts.yml")]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def alert_names() -> list[str]:
    return list(dict.fromkeys(rule["alert"] for rule in rules() if "alert" in rule))


def panels() -> list[dict[str, Any]]:
    """Every panel of every dashboard that asks something."""
    boards = [json.loads(path.read_text()) for path in sorted(DOCKER.glob("grafana/dashboards/*.json"))]
    return [panel for board in boards for panel in board["panels"] if panel["type"] != "row"]


def queries() -> list[str]:
    """All that is asked of Prometheus: by panels, by recording rules, and by alerts before they compare."""
    asked = [target["expr"] for panel in panels() for target in panel["targets"]]
    asked += [rule["record"] for rule in rules() if "record" in rule]
    return asked + [left_side(rule["expr"]) for rule in rules() if "alert" in rule]


def left_side(expression: str) -> str:
    """An alert's expression without its comparisons, so that it has a value whether the alert fires or not."""
    return re.sub(r" (>|<|==) [\d.]+( \* [\d.]+)?", "", expression)


def metric_names(expression: str) -> set[str]:
    """The metrics that a PromQL expression reads."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(by|on|group_left) \([^)]*\)", " ", expression)
    return set(re.findall(r"\b[a-zA-Z_][\w:]*\b(?! *\()", bare)) - _NOT_METRICS


def accelerated(text: str) -> str:
    """A configuration or rules with every range, wait and interval divided by `SPEED`; thresholds stay as they are."""

    def shorten(match: re.Match[str]) -> str:
        milliseconds = int(match["number"]) * _SECONDS[match["unit"]] * 1000 // SPEED
        return f"{match['before']}{milliseconds}ms"

    duration = r"(?P<number>\d+)(?P<unit>[smhd])\b"
    return re.sub(rf"(?P<before>\[|\b(?:for|group_wait|\w*_?interval): ){duration}", shorten, text)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus.

    Attributes:
        url: Where it answers.
        rate_interval: What `$__rate_interval` is: 5 minutes, as in Grafana on a range of some hours.
    """

    url: str
    rate_interval: str = f"{300 // SPEED}s"

    def get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, f"{parameters}: {answer.text}"
        return answer.json()["data"]

    def values(self, expression: str) -> list[float]:
        """The finite values of an expression now; none where it has no series or only 0/0."""
        found = self.get("query", query=expression.replace("$__rate_interval", self.rate_interval))["result"]
        return [value for series in found if math.isfinite(value := float(series["value"][1]))]

    def unanswered(self) -> list[str]:
        """Which of `queries` have no value."""
        return [asked for asked in queries() if not self.values(asked)]

    def is_up(self) -> bool:
        """Whether the service was scraped and has posted photos to tell of."""
        return self.values('up{job="pose"}') == [1.0]

    def loaded_rules(self) -> Iterator[dict[str, Any]]:
        """The rules that it evaluates."""
        for group in self.get("rules")["groups"]:
            yield from group["rules"]

    def alerts(self) -> set[str]:
        """Names of the alerts that are pending or firing."""
        return {alert["labels"]["alertname"] for alert in self.get("alerts")["alerts"]}


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    """Wait, with a limit, for a condition that costs a request or two to ask."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "the condition did not come true in time"
        time.sleep(0.25)

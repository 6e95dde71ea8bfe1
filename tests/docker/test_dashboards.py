"""The dashboards: what is committed is what the code makes, and every panel explains itself and asks what exists."""

import runpy
from typing import Any

import pytest

from tests.docker.monitoring import DOCKER, metric_names, panels, rules

PANELS = panels()


def test_the_committed_dashboards_are_current() -> None:
    rendered = runpy.run_path(str(DOCKER / "grafana/dashboards.py"))["render"]()
    committed = {path.name: path.read_text() for path in DOCKER.glob("grafana/dashboards/*.json")}
    assert committed == rendered, "run: make dashboards"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_a_unit_a_description_and_queries_of_its_own(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["description"].endswith(".")
    letters = [target["refId"] for target in panel["targets"]]
    assert letters and len(set(letters)) == len(letters)
    assert panel["datasource"]["uid"] == "prometheus"


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_asks_for_metrics_that_exist(panel: dict[str, Any], exported: set[str]) -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for target in panel["targets"]:
        assert metric_names(target["expr"]) <= exported | recorded


def test_a_misspelt_metric_would_be_found(exported: set[str]) -> None:
    query = 'sum by (le) (rate(pose_request_second_bucket{route="/pose"}[5m])) / on (job) group_left (name) pose_ready'
    assert metric_names(query) == {"pose_request_second_bucket", "pose_ready"}
    assert "pose_request_second_bucket" not in exported

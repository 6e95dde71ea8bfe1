"""The rules: promtool's own checks and unit tests, and that nothing in them is asked of a metric that is not there."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.metrics import Metrics
from tests.docker.monitoring import DOCKER, ROOT, accelerated, alert_names, left_side, metric_names, rules

HERE = Path(__file__).parent
RECORDED = [rule["record"] for rule in rules() if "record" in rule]
ALERTS = [rule for rule in rules() if "alert" in rule]

needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")


def promtool(*arguments: Any) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_accepts_the_configuration_and_its_rules() -> None:
    promtool("check", "config", DOCKER / "prometheus/prometheus.yml")


@needs_promtool
@pytest.mark.parametrize("name", ["recording.test.yml", "alerts.test.yml"])
def test_promtools_unit_tests_pass(name: str) -> None:
    promtool("test", "rules", HERE / name)


@needs_promtool
def test_accelerated_rules_are_rules(tmp_path: Path) -> None:
    for path in DOCKER.glob("prometheus/*.yml"):
        (tmp_path / path.name).write_text(accelerated(path.read_text()))
    promtool("check", "config", tmp_path / "prometheus.yml")


@pytest.mark.skipif(not shutil.which("amtool"), reason="amtool is not installed")
def test_alertmanager_accepts_its_configuration() -> None:
    subprocess.run(["amtool", "check-config", DOCKER / "alertmanager/alertmanager.yml"], check=True)


def test_every_recording_rule_has_a_unit_test() -> None:
    tests = yaml.safe_load((HERE / "recording.test.yml").read_text())["tests"]
    asked = [case["expr"] for test in tests for case in test["promql_expr_test"]]
    assert {name for expression in asked for name in metric_names(expression)} == set(RECORDED)


def test_every_alert_has_a_unit_test_of_its_firing_and_of_its_silence() -> None:
    tests = yaml.safe_load((HERE / "alerts.test.yml").read_text())["tests"]
    fired, silent = set(), set()
    for case in (case for test in tests for case in test["alert_rule_test"]):
        for alert in case["exp_alerts"]:
            fired.add((case["alertname"], alert["exp_labels"].get("window")))
        if not case["exp_alerts"]:
            silent.add(case["alertname"])
    assert fired == {(rule["alert"], rule["labels"].get("window")) for rule in ALERTS}
    assert silent == set(alert_names())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record", rule.get("alert")))
def test_every_rule_reads_metrics_that_exist(rule: dict[str, Any], exported: set[str]) -> None:
    assert metric_names(rule["expr"]) <= exported | set(RECORDED) | {"up"}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_bad_it_is_and_links_to_its_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    path, anchor = rule["annotations"]["runbook"].split("#")
    headings = re.findall(r"^#+ (\w+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_the_left_side_of_an_alert_keeps_all_but_its_threshold(rule: dict[str, Any]) -> None:
    left = left_side(rule["expr"])
    assert not re.search("[<>=] ", left)
    assert metric_names(left) == metric_names(rule["expr"])


def test_the_latency_objective_is_a_bound_of_the_buckets() -> None:
    bounds = {
        sample.labels["le"]
        for family in Metrics().registry.collect()
        for sample in family.samples
        if sample.name == "pose_request_seconds_bucket"
    }
    recorded = (DOCKER / "prometheus/recording.yml").read_text()
    assert set(re.findall(r'le="([\d.]+)"', recorded)) <= bounds


def test_acceleration_shortens_durations_only() -> None:
    text = "record: a:ratio_rate5m\nexpr: rate(x[5m]) > 14.4\nfor: 1h\nscrape_interval: 15s\n"
    faster = "record: a:ratio_rate5m\nexpr: rate(x[20000ms]) > 14.4\nfor: 240000ms\nscrape_interval: 1000ms\n"
    assert accelerated(text) == faster

import json
import re
import statistics
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest

from models.spec.contract import StatedAccuracy
from models.spec.paper import COLUMNS, TABLE_4
from service.api.lifecycle import Lifecycle
from service.errors import NotReady
from service.report.formats import as_html, as_json, as_text, table
from service.report.table4 import Report, build_report, summarise, time_engine, time_runs
from service.settings import Settings
from tests.support.client import Client
from tests.support.contracts import make_spec
from tests.support.standin import StandIn

# As printed in the paper.
PRINTED = """
Tompson et al.        96.1 91.9 83.9 77.8 80.9 72.3 64.8 82.0
Rafi et al.           97.2 93.9 86.4 81.3 86.8 80.6 73.4 86.3   27.6 ± 0.1   2768
Wei et al.            97.8 95.0 88.7 84.0 88.4 82.8 79.4 88.5  106.8 ± 0.2   5832
Bulat et al.          97.9 95.1 89.9 85.3 89.4 85.7 81.7 89.7   41.3 ± 0.2   1432
Newell et al.         98.2 96.3 91.2 87.1 90.1 87.4 83.6 90.9   60.5 ± 0.1   1229
Yang et al.           98.5 96.7 92.5 88.7 91.1 88.6 86.0 92.0  194.6 ± 76.8  1476
DSNTr ResNet-50@28px  97.8 96.0 90.0 84.3 89.8 85.2 79.7 89.5   18.6 ± 0.5    636
"""
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
PER_JOINT = {"Head": 83.61, "Shoulder": 83.6, "Elbow": 73.5, "Wrist": 64, "Hip": 79.2, "Knee": 72.6, "Ankle": 65.6}


def named(engine: StandIn, **changes: Any) -> StandIn:
    """The stand-in with other metadata in its model file."""
    engine.info = replace(engine.info, spec=make_spec(**changes))
    return engine


@pytest.fixture
def report(engine: StandIn) -> Report:
    accuracy = StatedAccuracy(total=75.35, per_joint=PER_JOINT, dataset="MPII people", people=244)
    return build_report(named(engine, accuracy=accuracy), [0.018, 0.020, 0.025], "now")


def page(report: Report) -> ET.Element:
    """The page, which must be well-formed."""
    return ET.fromstring(as_html(report))


def words(element: ET.Element) -> str:
    return "".join(element.itertext())


def test_the_papers_rows_are_as_printed(report: Report) -> None:
    printed = [re.split(r"  +", line.strip(), maxsplit=1) for line in PRINTED.strip().splitlines()]
    rows = table(report)[1:-1]
    assert [row[0] for row in rows] == [method for method, _ in printed]
    for (_, *cells), (_, figures) in zip(rows, printed, strict=True):
        assert [cell for cell in cells if cell != "-"] == re.findall(r"[\d.]+ ± [\d.]+|[\d.]+", figures)
    assert [row.name for row in TABLE_4 if row.time_ms is None or row.memory_mib is None] == ["Tompson et al."]


def test_our_row_tells_time_memory_and_accuracy(report: Report) -> None:
    here = report.deployment
    assert (here.time.mean_ms, here.time.deviation_ms, here.time.median_ms) == (21.0, 3.606, 20.0)
    assert (here.time.runs, here.time.source) == (3, "now")
    assert (here.memory.kind, here.memory.total_mib, here.memory.session_mib) == ("peak resident set", 600, 100)
    assert (here.pckh, here.dataset, here.people) == ({**PER_JOINT, "Total": 75.35}, "MPII people", 244)
    assert (here.hardware.provider, here.hardware.precision, here.hardware.threads) == ("cpu", "fp32", 2)
    assert table(report)[-1][-3:] == ["75.3", "21.0 ± 3.6 (20.0)", "600 (100)"]


def test_notes_tell_sources_and_protocol(report: Report) -> None:
    notes = " ".join(report.notes)
    for words in ("arXiv 1801.07372", "MPII test set", "neither a protocol", "Titan X", "a protocol of our own"):
        assert words in notes
    for words in ("MPII people, 244 people", "3 runs", "no flips", "usable CPUs: ", "threads: 2", "peak resident set"):
        assert words in notes


def test_on_a_gpu_memory_is_the_devices(engine: StandIn) -> None:
    assert json.loads(as_json(build_report(engine, [0.01], "now")))["deployment"]["hardware"]["gpu"] is None
    engine.info = replace(engine.info, provider="cuda", on_gpu=True, gpu="A card")
    report = build_report(engine, [0.01], "now")
    assert report.deployment.memory.kind == "device memory"
    assert "NVML" in " ".join(report.notes)
    assert "on A card and " in " ".join(report.notes)
    assert json.loads(as_json(report))["deployment"]["hardware"]["gpu"] == "A card"


def test_memory_that_cannot_be_told_stays_empty(engine: StandIn) -> None:
    engine.memory_bytes = lambda: float("nan")  # type: ignore[method-assign]
    report = build_report(engine, [0.01], "now")
    assert table(report)[-1][-1] == "- (100)"
    assert "- MiB" in [words(element) for element in page(report).iter("strong")]
    assert json.loads(as_json(report))["deployment"]["memory"]["total_mib"] is None
    engine.session_bytes = engine.memory_bytes  # type: ignore[method-assign]
    report = build_report(engine, [0.01], "now")
    assert table(report)[-1][-1] == "- (-)"
    assert json.loads(as_json(report))["deployment"]["memory"]["session_mib"] is None


def test_text_page_and_json_agree(report: Report) -> None:
    cells = table(report)
    assert [[words(cell) for cell in row] for row in page(report).iter("tr")] == cells
    lines = [line for line in as_text(report).splitlines() if "  " in line.strip() and not line.startswith(" ")]
    assert [re.split(r"  +", line.strip()) for line in lines] == cells
    document = json.loads(as_json(report))
    rows = [*document["paper"], document["deployment"]]
    assert [[f"{value:.1f}" for value in row["pckh"].values()] for row in rows] == [row[1:9] for row in cells[1:]]
    assert f"{document['deployment']['time']['median_ms']:.1f} ms" in [words(e) for e in page(report).iter("strong")]
    notes = [words(item) for item in page(report).iter("li")]
    assert notes == document["notes"]
    flat = " ".join(as_text(report).split())
    assert all(note in flat for note in notes)


def test_the_page_is_accessible_and_needs_nothing_else(report: Report) -> None:
    root = page(report)
    assert root.get("lang") == "en"
    assert [th.get("scope") for th in root.iter("th")] == ["col"] * 11 + ["row"] * 8
    assert len(list(root.iter("caption"))) == 1
    assert not {element.tag for element in root.iter()} & {"script", "img", "iframe", "object"}
    assert [element.get("href") for element in root.iter() if element.get("href")] == ["data:,"]
    assert not re.search(r"url\(|@import|https?://", as_html(report))


def test_what_the_file_says_is_escaped(engine: StandIn) -> None:
    evil = '<script>alert("1")</script> & $title'
    report = build_report(named(engine, name=evil, accuracy=StatedAccuracy(dataset=evil)), [0.01], "now")
    root = page(report)
    assert not list(root.iter("script"))
    assert words(list(root.iter("tr"))[-1][0]) == f"{evil}, here"
    assert evil in words(list(root.iter("li"))[-1])


@pytest.mark.parametrize("accuracy", [StatedAccuracy(), StatedAccuracy(total=float("nan"))])
def test_accuracy_that_the_file_does_not_state_stays_empty(accuracy: StatedAccuracy, engine: StandIn) -> None:
    report = build_report(named(engine, accuracy=accuracy), [0.01], "now")
    assert table(report)[-1][1:9] == ["-"] * 8
    assert json.loads(as_json(report))["deployment"]["pckh"] == dict.fromkeys(COLUMNS)
    assert "unknown people, an unknown number of people" in report.notes[-1]


def test_runs_are_bounded_by_number_and_by_time(engine: StandIn) -> None:
    assert len(time_engine(engine, 5)) == 5
    assert engine.batches == [1] * 5
    assert len(time_runs(lambda: None, 100, seconds=1e-9)) == 1


def test_one_run_has_no_deviation() -> None:
    assert summarise([0.5], "now").deviation_ms == 0


def get(client: Client, accept: str) -> Any:
    return client.request("GET", "/report", headers={"Accept": accept})


@pytest.mark.parametrize(
    ("accept", "media_type", "begin"),
    [
        ("*/*", "text/plain; charset=utf-8", "Table 4, live\n"),
        (BROWSER, "text/html; charset=utf-8", "<!DOCTYPE html>"),
        ("application/json", "application/json", '{\n  "paper": ['),
    ],
)
def test_each_client_gets_its_format(accept: str, media_type: str, begin: str, client: Client) -> None:
    answer = get(client, accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
    assert answer.headers["vary"] == "Accept"
    assert answer.text.startswith(begin)


def test_other_formats_are_refused(client: Client) -> None:
    answer = get(client, "image/png")
    assert (answer.status_code, answer.json()["reason"]) == (406, "not_acceptable")
    assert "text/plain, application/json, text/html" in answer.json()["detail"]


def test_figures_are_live_once_there_is_traffic(client: Client, astronaut: bytes) -> None:
    def timing() -> dict[str, Any]:
        return dict(get(client, "application/json").json()["deployment"]["time"])

    assert (timing()["source"], 1 <= timing()["runs"] <= 10) == ("start", True)
    for sent in range(1, 22):
        assert client.post("/pose?boxes=0,0,512,512", content=astronaut).status_code == 200
        assert timing()["source"] == ("start" if sent < 20 else "live traffic")
    live = client.app.state.lifecycle.metrics.recent_single_image_seconds()
    assert timing()["runs"] == len(live) == client.metric("pose_single_image_inference_seconds_count") == 21
    assert timing()["mean_ms"] == pytest.approx(statistics.fmean(live) * 1000, abs=1e-3)
    assert "21 runs: the last single-image batches of live traffic" in " ".join(get(client, "text/plain").text.split())


def test_batches_of_several_images_are_not_in_the_report(client: Client, astronaut: bytes) -> None:
    client.post("/pose?boxes=0,0,512,512&flip=true", content=astronaut)
    assert client.app.state.lifecycle.metrics.recent_single_image_seconds() == []


def test_before_the_engine_is_warm_there_is_no_report(settings: Settings) -> None:
    with pytest.raises(NotReady):
        Lifecycle(settings).report()

"""Grafana's dashboards as code: `make dashboards` writes dashboards/*.json, which Grafana reads at start.

"Pose service" is for the operator, "Table 4" sets this deployment beside the rows of the paper's Table 4.
"""

import string
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import VizOrientation
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from models.spec.paper import TABLE_4

FOLDER: Final = Path(__file__).parent / "dashboards"

_DATA_SOURCE: Final = DataSourceRef(type_val="prometheus", uid="prometheus")
_INFO: Final = "on (job, instance) group_left (name, provider, precision) pose_model_info"
_PHOTOS: Final = '{route="/pose"}'

_AnyPanel = timeseries.Panel | heatmap.Panel | bargauge.Panel
_Panel = TypeVar("_Panel", timeseries.Panel, heatmap.Panel, bargauge.Panel)


def render() -> dict[str, str]:
    """Each dashboard's JSON by its file's name."""
    encoder = JSONEncoder(sort_keys=True, indent=2)
    boards = {"pose-service.json": pose_service(), "table-4.json": table_4()}
    return {name: encoder.encode(board.build()) + "\n" for name, board in boards.items()}


def pose_service() -> Dashboard:
    """What an operator looks at: traffic, objectives, where the time goes, limits, and what is posted."""
    board = _dashboard("pose-service", "Pose service")
    for title, panels in (
        ("Traffic", _traffic()),
        ("Time", _time()),
        ("Queue", _queue()),
        ("Process", _process()),
        ("Photos and joints", _photos()),
    ):
        board.with_row(Row(title))
        for panel in panels:
            board.with_panel(panel)
    return board


def _traffic() -> tuple[_AnyPanel, ...]:
    return (
        _lines(
            "Requests by code",
            "reqps",
            "Answers to POST /pose per second: 200 answered, 4xx the client's fault but 429 shed, 5xx failed.",
            (f"sum by (code) (rate(pose_requests_total{_PHOTOS}[$__rate_interval]))", "{{code}}"),
        ),
        _lines(
            "Rejections by reason",
            "reqps",
            "Refusals per second by the reason that the problem document tells.",
            ("sum by (reason) (rate(pose_rejected_total[$__rate_interval]))", "{{reason}}"),
        ),
        _lines(
            "Failed and slow requests",
            "percentunit",
            "Of the last hour's photos, the share that was shed or failed, and the share that took longer than 2 s.",
            ("job:pose_failed_requests:ratio_rate1h", "shed or failed"),
            ("job:pose_slow_requests:ratio_rate1h", "slower than 2 s"),
        ),
        _lines(
            "Remaining error budget",
            "percentunit",
            "What is left of 30 days' budgets: 0.5 % of all photos may be shed or fail, 1 % be slow; "
            "below 0 the objective is missed.",
            ("1 - job:pose_failed_requests:ratio_rate30d / 0.005", "availability"),
            ("1 - job:pose_slow_requests:ratio_rate30d / 0.01", "latency"),
        ),
    )


def _time() -> tuple[_AnyPanel, ...]:
    whole = f"sum by (le) (rate(pose_request_seconds_bucket{_PHOTOS}[$__rate_interval]))"
    stages = "sum by (le, stage) (rate(pose_stage_seconds_bucket[$__rate_interval]))"
    per_stage = (
        _lines(
            f"Time per stage, {_percentile(q)}",
            "s",
            f"{_percentile(q)} of receiving, decoding, cropping, finding people, waiting for the network, "
            "inference and encoding.",
            (f"histogram_quantile({q}, {stages})", "{{stage}}"),
        )
        for q in (0.5, 0.9, 0.99)
    )
    return (
        _lines(
            "Request time",
            "s",
            "Whole time of POST /pose, refusals included, from the request's first byte to the answer's last.",
            *((f"histogram_quantile({q}, {whole})", _percentile(q)) for q in (0.5, 0.9, 0.99)),
        ),
        *per_stage,
    )


def _queue() -> tuple[_AnyPanel, ...]:
    return (
        _lines(
            "Queue against its limit",
            "suffix: images",
            "Images admitted and not yet answered, those of them that wait for the network, and how many can be "
            "answered before their deadline: more are refused with 429.",
            ("pose_admitted_images", "admitted"),
            ("pose_queue_images", "waiting"),
            ("pose_queue_limit_images", "limit"),
        ),
        _lines(
            "Photos that wait for a decoder",
            "suffix: photos",
            "Photos admitted that no thread decodes yet: where they pile up, decoding is slower than the network.",
            ("pose_decode_queue_photos", "waiting"),
        ),
        _lines(
            "Requests in flight",
            "suffix: requests",
            "Requests being answered now, but for probes and scrapes.",
            ("pose_in_flight_requests", "in flight"),
        ),
        _batch_sizes(),
    )


def _batch_sizes() -> heatmap.Panel:
    (query,) = _queries([("sum by (le) (increase(pose_batch_size_bucket[$__rate_interval]))", "{{le}}")])
    panel = heatmap.Panel().with_target(query.format(PromQueryFormat.HEATMAP))
    return _framed(panel, "Batch size", "suffix: images", "Runs by how many images were computed at once.")


def _process() -> tuple[_AnyPanel, ...]:
    return (
        _lines(
            "Memory",
            "bytes",
            "Resident set of the process, and the least of its container's limit and the machine's memory.",
            ("process_resident_memory_bytes{job='pose'}", "resident"),
            ("pose_memory_limit_bytes", "limit"),
        ),
        _lines(
            "Processors in use",
            "suffix: CPUs",
            "Processor seconds per second of the whole process.",
            ("rate(process_cpu_seconds_total{job='pose'}[$__rate_interval])", "CPUs"),
        ),
        _lines(
            "Event-loop lag",
            "s",
            "How late the event loop wakes up, 99th percentile of 5 minutes: what every connection and probe waits.",
            ("instance:pose_event_loop_lag_seconds:p99_rate5m", "p99"),
        ),
        _lines(
            "State",
            "bool_yes_no",
            "Whether the service takes photos, and whether it computes with the provider that it was asked to.",
            ("pose_ready", "ready"),
            ("pose_provider_as_asked", "provider as asked"),
        ),
        _lines(
            "Restarts",
            "suffix: starts",
            "How often the process started anew within the last hour: more than twice in 15 minutes pages.",
            ("changes(process_start_time_seconds{job='pose'}[1h])", "{{instance}}"),
        ),
    )


def _photos() -> tuple[_AnyPanel, ...]:
    return (
        _lines("Photo files", "bytes", "Sizes of the photos' files.", *_quantiles("pose_image_bytes")),
        _lines("Photo sizes", "si:px", "Pixels of the photos, width x height.", *_quantiles("pose_image_pixels")),
        _lines(
            "People found",
            "suffix: people",
            "People found in a photo without boxes.",
            *_quantiles("pose_found_people"),
        ),
        _lines(
            "Score",
            "percentunit",
            "Scores of the people found; where they fall, photos have fewer people, or others than the finder knows.",
            *_quantiles("pose_score"),
        ),
        _lines(
            "Confidence",
            "percentunit",
            "Mean confidence of all joints; far from the week's, the photos or the model have changed.",
            ("job:pose_joint_confidence:mean_rate1h", "last hour"),
            ("job:pose_joint_confidence:mean_rate7d", "last 7 days"),
        ),
        _lines(
            "Joint spread",
            "si:px",
            "Major axis of the joints' heatmap spread in photo pixels; it grows with the people's size.",
            *_quantiles("pose_joint_std_pixels"),
        ),
    )


def table_4() -> Dashboard:
    """The paper's columns Time and Memory, measured on this deployment's traffic."""
    seconds = "pose_single_image_inference_seconds"
    paper = [row for row in reversed(TABLE_4) if row.time_ms is not None]
    mean = f"rate({seconds}_sum[1h]) / rate({seconds}_count[1h])"
    return (
        _dashboard("table-4", "Table 4")
        .with_panel(
            _bars(
                "Time",
                "s",
                "One image through the network: input copy, forward pass, read-back; mean of this deployment's last "
                "hour. The paper does not say how or on which GPU it measured.",
                f"({mean}) * {_INFO}",
                {row.name: f"{row.time_ms} / 1000" for row in paper},
            )
        )
        .with_panel(
            _bars(
                "Memory",
                "bytes",
                "On a GPU, device memory since before the session; on a CPU, the process' peak resident set. "
                "The paper's is of its GPU.",
                f"pose_inference_memory_bytes * {_INFO}",
                {row.name: f"{row.memory_mib} * 1024 * 1024" for row in paper},
            )
        )
        .with_panel(
            _lines(
                "Time of one image",
                "s",
                "The same time of this deployment as it went, beside the 18.6 ms of the paper's DSNTr ResNet-50@28px.",
                *_quantiles(seconds),
                (f"vector({paper[0].time_ms} / 1000)", "the paper's mean"),
            ).span(24)
        )
    )


def _dashboard(uid: str, title: str) -> Dashboard:
    board = Dashboard(title).uid(uid).tags(["dsnt-pose"]).readonly()
    return board.time("now-1h", "now").refresh("30s").tooltip(DashboardCursorSync.CROSSHAIR)


def _lines(title: str, unit: str, description: str, *queries: tuple[str, str]) -> timeseries.Panel:
    panel = timeseries.Panel().fill_opacity(10).axis_soft_min(0)
    for query in _queries(queries):
        panel.with_target(query)
    return _framed(panel, title, unit, description)


def _bars(title: str, unit: str, description: str, here: str, paper: dict[str, str]) -> bargauge.Panel:
    panel = bargauge.Panel().orientation(VizOrientation.HORIZONTAL).min(0)
    panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    rows = ((f"vector({value})", name) for name, value in paper.items())
    for query in _queries([(here, "here: {{name}}, {{provider}} {{precision}}"), *rows]):
        panel.with_target(query.instant())
    return _framed(panel, title, unit, description).height(10)


def _framed(panel: _Panel, title: str, unit: str, description: str) -> _Panel:
    return panel.title(title).unit(unit).description(description).datasource(_DATA_SOURCE).span(12).height(8)


def _queries(pairs: Iterable[tuple[str, str]]) -> Iterator[prometheus.Dataquery]:
    """Queries of expressions and their legends, with the letters by which Grafana tells a panel's queries apart."""
    for letter, (expression, legend) in zip(string.ascii_uppercase, pairs, strict=False):
        yield prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter)


def _quantiles(metric: str) -> tuple[tuple[str, str], ...]:
    buckets = f"sum by (le) (rate({metric}_bucket[$__rate_interval]))"
    return tuple((f"histogram_quantile({q}, {buckets})", _percentile(q)) for q in (0.5, 0.9, 0.99))


def _percentile(quantile: float) -> str:
    return f"p{quantile * 100:.0f}"


if __name__ == "__main__":
    for name, text in render().items():
        (FOLDER / name).write_text(text)

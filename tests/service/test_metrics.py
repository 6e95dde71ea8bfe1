import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.metrics import STAGES, Metrics

DESIGN = {
    "pose_requests_total",
    "pose_request_seconds",
    "pose_stage_seconds",
    "pose_batch_size",
    "pose_queue_images",
    "pose_queue_limit_images",
    "pose_decode_queue_photos",
    "pose_in_flight_requests",
    "pose_people_total",
    "pose_rejected_total",
    "pose_image_bytes",
    "pose_image_pixels",
    "pose_joint_std_pixels",
    "pose_joint_confidence",
    "pose_single_image_inference_seconds",
    "pose_inference_memory_bytes",
    "pose_event_loop_lag_seconds",
    "pose_ready",
    "pose_model_info",
    "pose_model_pckh",
}


def test_every_metric_is_declared_once_with_help() -> None:
    text = Metrics().expose().decode()
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    assert set(helps) >= DESIGN
    assert all(told.strip() for told in helps.values())
    assert text.count("# HELP pose_requests_total") == 1


def test_two_services_in_one_process_do_not_meet() -> None:
    first, second = Metrics(), Metrics()
    first.people.inc()
    assert second.registry.get_sample_value("pose_people_total") == 0


def test_every_stage_is_there_before_the_first_request() -> None:
    text = Metrics().expose().decode()
    assert all(f'pose_stage_seconds_count{{stage="{stage}"}} 0.0' in text for stage in STAGES)


def test_every_answer_that_alerts_count_is_there_before_the_first_request() -> None:
    value = Metrics().registry.get_sample_value
    for code in ("200", "429", "500", "503"):
        assert value("pose_requests_total", {"route": "/pose", "code": code}) == 0
    assert value("pose_request_seconds_count", {"route": "/pose"}) == 0
    assert value("pose_rejected_total", {"reason": "overloaded"}) == 0


@pytest.mark.parametrize("as_asked", [True, False])
def test_a_replaced_provider_is_told(as_asked: bool) -> None:
    metrics = Metrics()
    metrics.describe_model("a", "1", "cpu", "fp32", as_asked)
    assert metrics.registry.get_sample_value("pose_provider_as_asked") == as_asked


def test_only_batches_of_one_count_as_the_papers_time() -> None:
    metrics = Metrics()
    metrics.observe_batch(1, 0.02)
    metrics.observe_batch(4, 0.08)
    value = metrics.registry.get_sample_value
    assert value("pose_single_image_inference_seconds_sum") == 0.02
    assert value("pose_batch_size_sum") == 5


def test_the_last_thousand_single_image_runs_are_kept_while_others_come() -> None:
    metrics = Metrics()

    def observe(thread: int) -> None:
        for index in range(600):
            metrics.observe_batch(1, thread + index / 1000)
            metrics.observe_batch(2, 100.0)
            assert len(metrics.recent_single_image_seconds()) <= 1000

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(observe, range(4)))
    kept = metrics.recent_single_image_seconds()
    assert len(kept) == 1000
    assert max(kept) < 100
    metrics.observe_batch(1, 7.0)
    assert metrics.recent_single_image_seconds() == [*kept[1:], 7.0]


def test_the_model_is_named() -> None:
    metrics = Metrics()
    metrics.describe_model("stand-in", "1", "cpu", "fp32", as_asked=True)
    metrics.describe_accuracy("MPII", 75.5)
    labels = {"name": "stand-in", "version": "1", "provider": "cpu", "precision": "fp32"}
    assert metrics.registry.get_sample_value("pose_model_info", labels) == 1

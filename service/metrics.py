"""Every Prometheus metric of the service, declared once. The only module that knows prometheus-client."""

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from service.errors import KINDS

_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_BYTES: Final = tuple(2.0**exponent for exponent in range(12, 26))
_PIXELS: Final = (1e4, 1e5, 2e5, 5e5, 1e6, 2e6, 5e6, 1e7, 2e7, 5e7)

_RECENT_RUNS: Final = 1000

PHOTO_STAGES: Final = ("decode", "crop", "find", "queue", "inference")
"""Stages of a photo's trip, in order."""

STAGES: Final = ("receive", *PHOTO_STAGES, "encode")
"""Stages of a request, in order: the values of the label `stage`."""


class Metrics:
    """The service's metrics in a registry of their own; several services in one process do not meet."""

    content_type: Final = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._declare_requests()
        self._declare_engine()
        self._declare_model()
        self._recent_single_image: deque[float] = deque(maxlen=_RECENT_RUNS)
        self._recent_lock = threading.Lock()

    def _declare_requests(self) -> None:
        self.requests = self._counter("pose_requests", "Requests answered.", "route", "code")
        self.request_seconds = self._histogram("pose_request_seconds", "Whole time of a request.", _SECONDS, "route")
        self.stage_seconds = self._histogram("pose_stage_seconds", "Time of a request's stage.", _SECONDS, "stage")
        self.in_flight = self._gauge(
            "pose_in_flight_requests", "Requests being answered now, but for probes and scrapes."
        )
        self.rejected = self._counter("pose_rejected", "Requests refused, by the problem's reason.", "reason")
        self.people = self._counter("pose_people", "People estimated in answers.")
        self.found_people = self._histogram(
            "pose_found_people", "People found in a photo without boxes.", (0, 1, 2, 3, 5, 10, 20, 50)
        )
        self.score = self._histogram(
            "pose_score", "Score of a person who was found.", (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
        )
        self.image_bytes = self._histogram("pose_image_bytes", "Size of a photo's file.", _BYTES)
        self.image_pixels = self._histogram("pose_image_pixels", "Pixels of a photo (width x height).", _PIXELS)
        self._start_from_zero()

    def _start_from_zero(self) -> None:
        """Make the series that alerts divide by: Prometheus counts no step from a series that was not there."""
        for stage in STAGES:
            self.stage_seconds.labels(stage)
        self.request_seconds.labels("/pose")
        for code in sorted({200, *(kind.status for kind in KINDS)}):
            self.requests.labels("/pose", str(code))
        for kind in KINDS:
            self.rejected.labels(kind.reason)

    def _declare_engine(self) -> None:
        self.batch_size = self._histogram(
            "pose_batch_size",
            "Images computed at once, in a batch or in streams.",
            (1, 2, 3, 4, 6, 8, 12, 16, 24, 32),
        )
        self.dropped = self._counter(
            "pose_dropped_images", "Images dropped unseen: cancelled, expired, or their request failed.", "reason"
        )
        self.queue_images = self._gauge("pose_queue_images", "Images that wait for the network.")
        self.admitted = self._gauge("pose_admitted_images", "Images under way: admitted and not yet answered.")
        self.queue_limit = self._gauge(
            "pose_queue_limit_images", "Images that may be under way: the drain rate times the deadline, less a margin."
        )
        self.decode_queue = self._gauge("pose_decode_queue_photos", "Photos that wait for a thread to decode them.")
        self.single_image = self._histogram(
            "pose_single_image_inference_seconds",
            "Table 4's Time: input copy, forward pass and read-back of one image that had the engine to itself.",
            _SECONDS,
        )
        self.memory = self._gauge(
            "pose_inference_memory_bytes",
            "Table 4's Memory: peak resident set on a CPU, device memory since before the session on a GPU.",
        )
        self.memory_limit = self._gauge(
            "pose_memory_limit_bytes", "Memory that the process may use: its control group's limit, or the machine's."
        )
        self.loop_lag = self._histogram("pose_event_loop_lag_seconds", "How late the event loop wakes up.", _SECONDS)
        self.ready = self._gauge("pose_ready", "1 when the service takes requests, else 0.")

    def _declare_model(self) -> None:
        self.joint_std = self._histogram(
            "pose_joint_std_pixels",
            "Major axis of a joint's heatmap spread, photo pixels.",
            (1, 2, 5, 10, 20, 50, 100, 200, 500),
        )
        self.joint_confidence = self._histogram(
            "pose_joint_confidence", "Confidence of a joint.", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1)
        )
        self.model_info = self._gauge(
            "pose_model_info", "The model that answers; always 1.", "name", "version", "provider", "precision"
        )
        self.provider_as_asked = self._gauge(
            "pose_provider_as_asked", "1 when the provider is the one asked for (of auto: the best installed), else 0."
        )
        self.model_pckh = self._gauge(
            "pose_model_pckh", "PCKh@0.5 Total of the model, in percent, as its file tells.", "dataset"
        )

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, buckets=bounds, registry=self.registry)

    def describe_model(self, name: str, version: str, provider: str, precision: str, as_asked: bool) -> None:
        """Publish what computes, and whether the provider is the one asked for."""
        self.model_info.labels(name, version, provider, precision).set(1)
        self.provider_as_asked.set(as_asked)

    def describe_accuracy(self, dataset: str, pckh: float | None) -> None:
        """Publish the model's PCKh in percent, as its file states it."""
        self.model_pckh.labels(dataset).set(math.nan if pckh is None else pckh)

    def watch(self, gauges: dict[Gauge, Callable[[], float]]) -> None:
        """Read these gauges from the service's own state at every scrape."""
        for gauge, read in gauges.items():
            gauge.set_function(read)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Record the time of one of `STAGES`."""
        self.stage_seconds.labels(stage).observe(seconds)

    def observe_batch(self, together: int, seconds: float) -> None:
        """Record a run of the network, with the images that were computed at once, those of other streams included."""
        self.batch_size.observe(together)
        if together == 1:
            self.single_image.observe(seconds)
            with self._recent_lock:
                self._recent_single_image.append(seconds)

    def recent_single_image_seconds(self) -> list[float]:
        """The durations behind `pose_single_image_inference_seconds`: the last 1,000, the oldest first."""
        with self._recent_lock:
            return list(self._recent_single_image)

    def observe_found(self, people: int, scores: Sequence[float]) -> None:
        """Record how many people were found in a photo, and the scores of those who are in the answer."""
        self.found_people.observe(people)
        for score in scores:
            self.score.observe(score)

    def observe_joints(self, std_px: NDArray[np.floating[Any]], confidence: NDArray[np.floating[Any]]) -> None:
        """Record the joints of one person: their spread in photo pixels and their confidence."""
        for value in std_px.tolist():
            self.joint_std.observe(value)
        for value in confidence.tolist():
            self.joint_confidence.observe(value)

    def expose(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

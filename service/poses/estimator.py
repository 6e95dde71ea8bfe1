"""Photos in, people out: the networks, their threads and those that decode, for whoever wants poses.

The command line and the HTTP service enter here. There is no limit on time or on how much is
under way: `service.poses.admission` lies around it where a server needs them.
"""

import math
import time
from typing import Final

from models.spec.finder import check_findings
from service.forecast import Throughput
from service.host import memory_limit_bytes, usable_cpus
from service.inference.engine import EngineInfo, Networks
from service.inference.schedule import Lane
from service.inference.workers import Workers
from service.metrics import Metrics
from service.photos.crops import KeptPhotos
from service.photos.decoders import Decoders
from service.photos.decoding import predict_cost
from service.poses.options import Options
from service.poses.people import Poses
from service.poses.trip import Claim, Finder, Stations, Trip
from service.settings import Settings

_KEPT_FRACTION: Final = 0.1  # of the memory that the process may use, for photos that wait for another pass
_STALL_SECONDS: Final = 60.0  # a batch that runs for longer hangs, however short the clients' deadline


class Estimator:
    """Takes photos through decoding, cropping and the network.

    `start` before the first `estimate`, `close` after the last.

    Args:
        settings: Limits on photos, and numbers of threads.
        networks: The network that gives joints, and perhaps a finder.
        metrics: Where batches are recorded.
        images_per_second: How fast the engine is, as far as that is known; 0 where it is not.
    """

    def __init__(
        self, settings: Settings, networks: Networks, metrics: Metrics, images_per_second: float = 0.0
    ) -> None:
        self._engine = networks.pose
        workers = settings.decode_workers or usable_cpus()
        self.decoders = Decoders(workers)
        self._cutters = Decoders(workers)
        self.lane = Lane(self._engine, Throughput(time.monotonic, images_per_second), metrics.observe_batch)
        finder = _finder_of(networks)
        lanes = [self.lane, finder.lane] if finder else [self.lane]
        self.workers = Workers(lanes, metrics, max(_STALL_SECONDS, settings.deadline_seconds))
        self._stations = Stations(
            spec=self._engine.info.spec,
            decoders=self.decoders,
            cutters=self._cutters,
            workers=self.workers,
            lane=self.lane,
            finder=finder,
            kept=KeptPhotos(_KEPT_FRACTION * memory_limit_bytes()),
            max_pixels=settings.max_pixels,
            max_people=settings.max_people,
        )

    @property
    def info(self) -> EngineInfo:
        """What computes."""
        return self._engine.info

    def start(self) -> None:
        """Start the threads."""
        for threads in (self.decoders, self._cutters, self.workers):
            threads.start()

    def close(self, timeout_seconds: float) -> None:
        """Finish what is under way and end all threads; what is left after the timeout is refused."""
        self.workers.close(timeout_seconds)
        for threads in (self.decoders, self._cutters):
            threads.close()  # what waits for one is refused by it

    def predict_decode_seconds(self, data: bytes) -> float:
        """How long a decoder is expected to need for a photo's file."""
        return self.decoders.seconds(predict_cost(data, self._stations.max_pixels))

    async def estimate(
        self, data: bytes, options: Options, deadline: float = math.inf, claim: Claim = lambda _: None
    ) -> Poses:
        """Estimate the poses of the people in a photo; cancelling it drops what still waits.

        Args:
            data: The photo's file.
            options: Whose boxes or whom to find, and what else to answer.
            deadline: Instant of `time.monotonic()` after which no answer is of use.
            claim: Hears how many images the people who were found need, and may refuse them.

        Raises:
            ServiceError: The photo, a box or the service's state does not allow an answer.
        """
        return await Trip(self._stations, data, options, deadline, claim).run()


def _finder_of(networks: Networks) -> Finder | None:
    if networks.finder is None:
        return None
    throughput = Throughput(time.monotonic)
    lane = Lane(networks.finder, throughput, observe=lambda *_: None, check=check_findings)
    return Finder(networks.finder.info.spec, lane)

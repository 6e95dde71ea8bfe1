import asyncio
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from service.errors import BadOption, DeadlineMissed, Malformed, Overloaded
from service.poses.admission import Admission, BoundedEstimator
from service.poses.options import Options
from service.poses.trip import Claim


def test_what_cannot_be_answered_in_time_is_refused_with_the_time_to_wait() -> None:
    door = Admission(lambda: 2.0, deadline_seconds=5)
    assert door.limit_images == 8
    with door.admit(6):
        with door.admit(2):
            assert door.admitted_images == 8
            with pytest.raises(Overloaded, match=r"1 more would take 5\.5 s; the limit is 5 s"):
                door.check()
            with (
                pytest.raises(Overloaded, match=r"8 images are under way and 6 more would take 8\.0 s") as refusal,
                door.admit(6),
            ):
                pass
        assert refusal.value.retry_after_seconds == pytest.approx(2.4)  # (8 - 5) / 1.25
    assert door.admitted_images == 0


def test_permits_come_back_after_an_error() -> None:
    door = Admission(lambda: 1.0, deadline_seconds=1)
    with pytest.raises(ValueError, match="broken"), door.admit(1):
        raise ValueError("broken")
    assert door.admitted_images == 0


def test_an_idle_service_admits_one_image_at_any_rate_but_not_more_than_it_can_answer() -> None:
    slow = Admission(lambda: 0.1, deadline_seconds=1)
    with slow.admit(1):
        pass
    with pytest.raises(BadOption, match="2 images of the network, and 1 are the most"), slow.admit(2):
        pass


def test_an_idle_service_goes_by_its_best_rate_since_only_runs_can_mend_a_spoilt_one() -> None:
    rate = 10.0
    door = Admission(lambda: rate, deadline_seconds=1)
    with door.admit(10):
        rate = 0.1
        with pytest.raises(Overloaded, match="10 images are under way and 1 more would take 135"):
            door.check()
    with door.admit(10), pytest.raises(Overloaded), door.admit(1):
        pass
    with pytest.raises(BadOption, match="11 images of the network, and 10 are the most"), door.admit(11):
        pass


def test_what_could_never_be_admitted_is_the_clients_fault_even_while_others_are_under_way() -> None:
    door = Admission(lambda: 2.4, deadline_seconds=5)
    told = r"up to 13 images of the network, and 12 are the most that fit in the limit of 5 s; send fewer boxes"
    with pytest.raises(BadOption, match=told):
        door.check(13)
    with door.admit(1):
        with pytest.raises(BadOption, match=told), door.admit(13):
            pass
        with pytest.raises(Overloaded, match="1 images are under way and 12 more"):
            door.check(12)
    with door.admit(12):
        pass


def test_the_slower_of_decoders_and_network_is_waited_for() -> None:
    decoder_wait = 3.2
    door = Admission(lambda: 2.0, 5, lambda: decoder_wait)
    with door.admit(1):
        with (
            pytest.raises(Overloaded, match=r"1 images are under way and 1 more would take 5\.4 s"),
            door.admit(1, 0.9),
        ):
            pass
        decoder_wait = 2.8
        with door.admit(1, 0.9):
            pass
        decoder_wait = 0.0  # a decoder is free
        with door.admit(1, 100.0):
            pass


def test_the_margin_follows_what_predictions_miss_and_late_answers() -> None:
    now = 0.0
    door = Admission(lambda: 10.0, 10, clock=lambda: now)

    def answer(seconds: float, error: Exception | None = None) -> None:
        nonlocal now
        with suppress(DeadlineMissed, Malformed), door.admit(40), door.admit(1):
            now += seconds
            if error:
                raise error

    answer(4.0)
    answer(60.0, Malformed("broken"))
    assert door.limit_images == 80
    answer(4.1 * 1.5)
    assert door.limit_images == pytest.approx(80 / 1.099)
    answer(0.1, DeadlineMissed("late"))
    assert door.limit_images == pytest.approx(80 / 1.099**2)


def test_short_waits_do_not_move_the_margin() -> None:
    now = 0.0
    door = Admission(lambda: 10.0, 10, clock=lambda: now)
    with door.admit(9), door.admit(1):
        now += 9
    assert door.limit_images == 80


def test_a_service_of_unknown_speed_admits_everything() -> None:
    unknown = Admission(lambda: 0.0, deadline_seconds=1)
    with unknown.admit(64), unknown.admit(64):
        assert unknown.admitted_images == 128


def test_the_network_works_on_what_waits_while_the_photo_is_decoded() -> None:
    door = Admission(lambda: 2.0, 3, lambda: 0.1)
    with door.admit(4), door.admit(1, 0.9):  # 0.9 s, 1.25 x (2 - 0.9) s and 0.5 s
        assert door.admitted_images == 5


def test_a_requests_own_time_is_no_miss_of_the_wait() -> None:
    now = 0.0
    door = Admission(lambda: 10.0, 10, clock=lambda: now)
    with door.admit(40), door.admit(10):
        now += 5.5  # 4 s of waiting were predicted, and a second of its own
    assert door.limit_images == 80


def bounded(estimate: Any) -> BoundedEstimator:
    """A door of 5 s before a network of 2 images/s, and decoders that are free in 3.2 s and need 0.9 s for a photo."""
    estimator: Any = SimpleNamespace(
        lane=SimpleNamespace(throughput=SimpleNamespace(images_per_second=2.0)),
        decoders=SimpleNamespace(wait_seconds=lambda: 3.2),
        predict_decode_seconds=lambda _: 0.9,
        estimate=estimate,
    )
    return BoundedEstimator(estimator, 5)


def test_an_estimator_admits_all_images_of_a_request_and_passes_the_deadline_on() -> None:
    seen: list[float] = []

    async def estimate(_data: bytes, _options: Options, deadline: float, claim: Claim) -> None:
        seen.extend((door.admission.admitted_images, deadline - time.monotonic()))
        claim(3)
        seen.append(door.admission.admitted_images)
        claim(-4)
        seen.append(door.admission.admitted_images)

    door = bounded(estimate)
    asyncio.run(door.estimate(b"", Options(refine=True)))
    assert seen[0] == Options(refine=True).images > 1
    assert 0 < seen[1] <= 5
    assert seen[2:] == [seen[0] + 3, seen[0] - 1]
    assert door.admission.admitted_images == 0


def test_an_estimators_door_knows_of_its_decoders() -> None:
    async def estimate(*_: object) -> None:
        pytest.fail("it is admitted")

    door = bounded(estimate)
    with door.admission.admit(1), pytest.raises(Overloaded, match=r"1 more would take 5\.4 s"):
        asyncio.run(door.estimate(b"", Options(refine=False)))

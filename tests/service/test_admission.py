import pytest

from service.admission import Admission
from service.problems import Overloaded


def test_what_cannot_be_answered_in_time_is_refused_with_the_time_to_wait() -> None:
    door = Admission(lambda: 2.0, deadline_seconds=5)
    assert door.limit_images == 10
    with door.admit(8):
        with door.admit(2):
            assert door.admitted_images == 10
            with (
                pytest.raises(Overloaded, match="10 images are under way and 4 more would take") as refusal,
                door.admit(4),
            ):
                pass
        assert refusal.value.headers == {"Retry-After": "2"}
    assert door.admitted_images == 0


def test_permits_come_back_after_an_error() -> None:
    door = Admission(lambda: 1.0, deadline_seconds=1)
    with pytest.raises(ValueError, match="broken"), door.admit(1):
        raise ValueError("broken")
    assert door.admitted_images == 0


def test_an_idle_service_and_one_of_unknown_speed_admit_everything() -> None:
    with Admission(lambda: 1.0, deadline_seconds=1).admit(64):
        pass
    unknown = Admission(lambda: 0.0, deadline_seconds=1)
    with unknown.admit(64), unknown.admit(64):
        assert unknown.admitted_images == 128


def test_the_door_is_checked_before_anything_is_read() -> None:
    admission = Admission(lambda: 1.0, 2.0)
    with admission.admit(2):
        with pytest.raises(Overloaded):
            admission.check()
        assert admission.admitted_images == 2
    admission.check()

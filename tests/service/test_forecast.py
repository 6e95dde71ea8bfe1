import pytest

from service.forecast import Costs, Margin, Throughput


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(throughput: Throughput, clock: Clock, seconds: float, images: int = 1) -> None:
    began = throughput.begin()
    clock.now += seconds
    throughput.end(began, images)


def test_overlapping_runs_count_their_seconds_once() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    first = throughput.begin()
    for _ in range(200):
        clock.now += 0.05
        second = throughput.begin()
        clock.now += 0.05
        throughput.end(first, 1)
        first = second
    assert throughput.images_per_second == pytest.approx(10, rel=0.05)
    assert throughput.seconds(1) == pytest.approx(0.15, rel=0.4)
    assert throughput.seconds(40) == pytest.approx(4, rel=0.05)


def test_idle_seconds_do_not_count() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    for _ in range(10):
        run(throughput, clock, 0.1)
        clock.now += 60
    assert throughput.images_per_second == pytest.approx(10)


def test_a_failed_run_takes_time_and_computes_nothing() -> None:
    clock = Clock()
    throughput = Throughput(clock, images_per_second=10)
    assert throughput.images_per_second == pytest.approx(10)
    run(throughput, clock, 0.4, images=0)
    assert throughput.images_per_second == pytest.approx(5, rel=0.05)


def test_the_rate_follows_within_a_hundred_images_and_is_not_moved_by_one() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    for _ in range(100):
        run(throughput, clock, 0.1)
    run(throughput, clock, 0.3)
    assert throughput.images_per_second > 9
    for _ in range(100):
        run(throughput, clock, 0.2)
    assert throughput.images_per_second == pytest.approx(5, rel=0.1)


def test_time_is_kept_for_further_runs_but_never_more_than_half_of_what_is_left() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    assert throughput.latest(deadline=5, runs=3) == 5
    run(throughput, clock, 0.5)
    assert throughput.latest(deadline=5.5, runs=3) == 4
    assert throughput.latest(deadline=1.5, runs=3) == 1
    assert throughput.latest(deadline=0.1, runs=3) == pytest.approx(0.1)


def test_a_photo_costs_what_others_of_its_kind_have_cost_for_their_size() -> None:
    costs = Costs()
    for amount in (1e6, 3e6):
        costs.learn("PNG", amount, amount * 1e-7)
    assert costs.seconds("PNG", 2e6) == pytest.approx(0.2, rel=0.05)
    assert 0 < costs.seconds("JPEG", 2e6) < 0.2


def test_the_margin_widens_at_misses_and_rests_where_one_wait_in_a_hundred_is_longer() -> None:
    margin = Margin()
    assert margin.factor == 1.25
    for _ in range(5):
        margin.learn(10.0)
    assert margin.factor > 1.9
    for index in range(20_000):
        margin.learn(2.0 if index % 50 == 0 else 1.0)
    assert margin.factor == pytest.approx(2.0, rel=0.12)
    for _ in range(2000):
        margin.learn(1.0)
    assert margin.factor == 1.25
    for _ in range(100):
        margin.learn(10.0)
    assert margin.factor == 3.0


def test_a_batch_weighs_as_much_as_its_images() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    for _ in range(100):
        run(throughput, clock, 0.1)
    run(throughput, clock, 12.8, images=64)
    assert throughput.images_per_second == pytest.approx(5, rel=0.07)


def test_an_image_takes_no_less_than_a_run() -> None:
    clock = Clock()
    throughput = Throughput(clock)
    began = [throughput.begin() for _ in range(4)]
    clock.now += 2
    for each in began:
        throughput.end(each, 1)
    assert throughput.images_per_second == pytest.approx(2, rel=0.1)
    assert throughput.seconds(1) == pytest.approx(2)
    assert throughput.seconds(40) == pytest.approx(20, rel=0.1)

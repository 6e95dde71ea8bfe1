"""Nearly all that the service can answer is answered in time, whatever more is asked for, and the rest refused at once.

In simulated time, so that the figures are the same at every run and on every machine.
"""

import math

import pytest

from tests.support.simulation import Machine, Simulation

SMALL = Machine(decode_seconds=0.002)
LARGE_PNG = Machine(decode_seconds=0.5)


def simulated(machine: Machine, deadline_seconds: float, load: float, seconds: float) -> Simulation:
    simulation = Simulation(machine, deadline_seconds)
    simulation.open_loop(load * machine.capacity, seconds)
    simulation.run()
    return simulation


def assert_serves(simulation: Simulation, begin: float, end: float) -> None:
    """Goodput is at least 90 % of the capacity, and at most one request in a hundred ends in a late refusal."""
    answered = simulation.count(begin, end, 200) / (end - begin)
    assert answered >= 0.9 * simulation.machine.capacity
    assert simulation.share(begin, end, 503) <= 0.01


@pytest.mark.parametrize("load", [1.0, 1.2, 2.0])
@pytest.mark.parametrize("deadline_seconds", [5, 30])
@pytest.mark.parametrize("machine", [SMALL, LARGE_PNG], ids=["small photos", "large PNGs"])
def test_what_the_slower_stage_can_take_is_answered_and_the_rest_refused_at_the_door(
    machine: Machine, deadline_seconds: float, load: float
) -> None:
    begin, end = deadline_seconds, deadline_seconds + 90
    simulation = simulated(machine, deadline_seconds, load, end)
    assert_serves(simulation, begin, end)
    if load == 2.0:
        assert simulation.share(begin, end, 429) > 0.4


@pytest.mark.parametrize("machine", [SMALL, LARGE_PNG], ids=["small photos", "large PNGs"])
def test_clients_in_a_closed_loop_whose_wait_comes_near_the_deadline_are_answered(machine: Machine) -> None:
    simulation = Simulation(machine, 5)
    simulation.closed_loop(round(5 * machine.capacity) + 1, pause_seconds=0.5, until=95)
    simulation.run()
    assert_serves(simulation, 5, 95)


@pytest.mark.parametrize("load", [1.2, 2.0])
def test_times_that_vary_widely_widen_the_margin_and_not_the_share_of_late_answers(load: float) -> None:
    assert_serves(simulated(Machine(noise=0.7), 5, load, 95), 5, 95)


@pytest.mark.parametrize("load", [1.2, 2.0])
def test_a_machine_whose_pace_comes_and_goes_is_followed(load: float) -> None:
    waves = Machine(pace=lambda seconds: 1 + 0.3 * math.sin(seconds / 7))
    assert_serves(simulated(waves, 5, load, 95), 5, 95)


def test_when_everything_takes_twice_as_long_at_once_what_is_answered_is_half_and_in_time() -> None:
    slower = Machine(pace=lambda seconds: 1.0 if seconds < 40 else 2.0)
    simulation = simulated(slower, 5, 1.5, 100)
    assert simulation.count(40, 100, 200) / 60 >= 0.9 * slower.capacity / 2
    assert simulation.share(50, 100, 503) <= 0.01

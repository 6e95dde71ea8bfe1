import pytest
import torch

from models.networks.pose import PoseNetwork
from models.training.optimisation import (
    AVERAGE_DECAY,
    AVERAGE_EVERY,
    OPTIMISERS,
    cosine,
    freeze,
    moving_average,
    parameter_groups,
)


def test_the_average_has_a_short_memory_at_first_and_then_a_long_one() -> None:
    for updates, new in ((1, 5 / 6), (5, 1 / 2), (10_000, 1 - AVERAGE_DECAY**AVERAGE_EVERY)):
        averaged = torch.zeros(3)
        moving_average([averaged], [torch.ones(3)], torch.tensor(updates))
        assert averaged.tolist() == pytest.approx([new] * 3)


def test_every_learning_parameter_is_in_one_group() -> None:
    network = PoseNetwork(18, 16)
    groups = parameter_groups(network, 1, 10.0, 0.01)
    grouped = [p for group in groups for p in group["params"]]
    assert len(grouped) == len(set(map(id, grouped)))
    assert {id(p) for p in grouped} == {id(p) for p in network.parameters() if p.requires_grad}
    assert [group["times"] for group in groups] == [1, 1, 10]
    assert groups[-1]["params"] == [network.heatmap.weight]


def test_only_convolutions_decay() -> None:
    network = PoseNetwork(18, 16)
    decay = {
        id(p): group["weight_decay"] for group in parameter_groups(network, 0, 10.0, 0.01) for p in group["params"]
    }
    for name, p in network.named_parameters():
        assert decay[id(p)] == (0.01 if p.ndim == 4 else 0), name


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_keep_the_groups(name: str) -> None:
    optimiser = OPTIMISERS[name](parameter_groups(PoseNetwork(18, 16), 1, 10.0, 0.01))
    assert [(group["times"], group["weight_decay"]) for group in optimiser.param_groups] == [
        (1, 0.01),
        (1, 0),
        (10, 0.01),
    ]


def test_batch_norm_of_frozen_stages_keeps_its_statistics() -> None:
    network = PoseNetwork(18, 16).train()
    freeze(network, 1)
    assert not network.backbone.bn1.training
    assert not any(m.training for m in network.backbone.get_submodule("layer1").modules())
    assert all(m.training for m in network.backbone.get_submodule("layer2").modules())


def test_frozen_statistics_are_of_all_stages_and_weights_learn() -> None:
    network = PoseNetwork(18, 16).train()
    freeze(network, 1, statistics=True)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert norms and not any(norm.training for norm in norms)
    assert all(p.requires_grad for p in network.backbone.get_submodule("layer4").parameters())
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.randn(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_the_cosine_warms_up_and_falls_to_a_hundredth() -> None:
    rates = [cosine(step, 1000) for step in range(1001)]
    assert rates[0] < 0.02
    assert max(rates) == pytest.approx(1, abs=0.03)
    assert rates[-1] == pytest.approx(0.01)
    assert rates[100:] == sorted(rates[100:], reverse=True)

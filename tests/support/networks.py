"""Networks with random weights."""

import torch

from models.networks.finder import FinderNetwork


def make_finder_network() -> FinderNetwork:
    """A finder whose cells differ, as a trained network's do."""
    torch.manual_seed(0)
    network = FinderNetwork().eval()
    for head in network.head:
        torch.nn.init.normal_(head[1].weight, std=5)
    return network

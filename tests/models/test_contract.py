import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from models.contract import Contract, ContractError, Shapes, check_tensors
from tests.contracts import make_contract

CONTRACT = make_contract()


@dataclass
class Node:
    name: str
    type: str
    shape: list[Any]


def tensors() -> tuple[list[Node], list[Node]]:
    return [Node("images", "tensor(uint8)", ["N", 224, 224, 3])], [
        Node("coordinates", "tensor(float)", ["N", 16, 2]),
        Node("covariance", "tensor(float)", ["N", 16, 3]),
        Node("confidence", "tensor(float)", ["N", 16]),
        Node("heatmaps", "tensor(float)", ["N", 16, 28, 28]),
    ]


def test_metadata_round_trip() -> None:
    assert Contract.from_metadata(CONTRACT.to_metadata()) == CONTRACT


@pytest.mark.parametrize("name", CONTRACT.to_metadata())
def test_every_entry_is_required(name: str) -> None:
    metadata = CONTRACT.to_metadata()
    del metadata[name]
    with pytest.raises(ContractError, match=name):
        Contract.from_metadata(metadata)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("contract", json.dumps(99), "version 99"),
        ("crop", json.dumps({"size": 256}), "256"),
        ("name", "not json", "not JSON"),
        ("skeleton", json.dumps(["left_hand", "head"]), "no mirror image"),
        ("skeleton", json.dumps(None), "no mirror image"),
        ("accuracy", json.dumps(None), "not an object"),
    ],
)
def test_other_contracts_are_refused(name: str, value: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        Contract.from_metadata({**CONTRACT.to_metadata(), f"dsnt_pose.{name}": value})


def test_tensors_give_the_sizes_that_the_file_chooses() -> None:
    inputs, outputs = tensors()
    assert check_tensors(inputs, outputs, CONTRACT) == Shapes(16, 28, 28)
    outputs[3].shape = ["N", 16, 14, 14]
    assert check_tensors(inputs, outputs, CONTRACT) == Shapes(16, 14, 14)


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (0, {"shape": ["N", 17, 2]}),
        (0, {"type": "tensor(double)"}),
        (1, {"shape": ["N", 16]}),
        (2, {"name": "scores"}),
        (3, {"shape": ["N", 16, "h", "w"]}),
        (3, {"shape": [1, 16, 28, 28]}),
    ],
)
def test_tensors_that_differ_are_refused_by_name(index: int, changes: dict[str, Any]) -> None:
    inputs, outputs = tensors()
    name = outputs[index].name
    outputs[index] = replace(outputs[index], **changes)
    with pytest.raises(ContractError, match=name):
        check_tensors(inputs, outputs, CONTRACT)

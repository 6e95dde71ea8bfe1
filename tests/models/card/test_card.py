"""The model card's commands and links are there."""

import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from models.spec.contract import WEIGHTS_FOLDER

TEXTS = [(WEIGHTS_FOLDER / name).read_text() for name in ("README.md", "HISTORY.md")]


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([a-z0-9_.]+)", " ".join(TEXTS)))))
def test_every_command_is_a_module(module: str) -> None:
    assert find_spec(module) is not None


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:models|export)\.[a-z0-9_.]+)`", " ".join(TEXTS)))))
def test_every_name_is_a_module_or_in_one(name: str) -> None:
    module, _, attribute = name.rpartition(".")
    assert hasattr(import_module(module), attribute) or find_spec(name) is not None


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!http|#)([^)]+)\)", " ".join(TEXTS)))))
def test_every_link_leads_to_a_file(path: str) -> None:
    assert (WEIGHTS_FOLDER / path).exists()

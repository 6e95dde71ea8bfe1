"""The README tells the truth: every setting, option and command in it is the code's."""

import re
import shlex
from pathlib import Path

import pytest

from service.cli.main import build_parser
from service.metrics import Metrics
from service.poses import options
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def settings_rows() -> list[str]:
    """The lines of the README's table of settings."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.relative_to(ROOT) if isinstance(default, Path) else default
        rows.append(f"| `{PREFIX}{name.upper()}` | `{shown}` | {field.description} |")
    return rows


def test_every_setting_stands_in_the_readme_with_its_default() -> None:
    table = [line for line in README.splitlines() if line.startswith(f"| `{PREFIX}")]
    assert table == settings_rows()


@pytest.mark.parametrize("name", options.NAMES)
def test_every_option_stands_in_the_readme(name: str) -> None:
    assert f"\n| `{name}` |" in README


def test_every_metric_stands_in_the_readme_with_its_meaning() -> None:
    ours = [family for family in Metrics().registry.collect() if family.name.startswith("pose_")]
    for family in ours:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        row = rf"^\| `{name}(\{{[a-z,]+\}})?` \| {family.type} \| {re.escape(family.documentation)} \|$"
        assert re.search(row, README, re.MULTILINE), name
    assert len(re.findall(r"^\| `pose_", README, re.MULTILINE)) == len(ours)


def test_every_target_of_the_readme_is_the_makefiles() -> None:
    targets = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z0-9]+)\b", README)) <= targets


def test_every_predict_command_is_understood() -> None:
    commands = re.findall(r"^\S*dsnt-pose (predict .*)$", README, re.MULTILINE)
    assert commands
    for command in commands:
        assert build_parser().parse_args(shlex.split(command)).photo


@pytest.mark.parametrize(
    "path", re.findall(r"\]\((?!http|#)([^)]+)\)", README) + re.findall(r"tests/photos/\S+\.jpg", README)
)
def test_every_linked_file_exists(path: str) -> None:
    assert (ROOT / path).exists()

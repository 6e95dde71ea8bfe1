"""docker/README.md tells the truth: its tables are the code's and its files exist."""

import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic.fields import FieldInfo

from service.cli.flags import bounds
from service.settings import PREFIX, Settings
from tests.docker.monitoring import DOCKER, ROOT, alert_names

README = (DOCKER / "README.md").read_text()


def allowed(field: FieldInfo) -> str:
    """A setting's choices or bounds in words."""
    return ", ".join(f"`{choice}`" for choice in get_args(field.annotation)) or bounds(field)


def settings_rows() -> list[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.default.relative_to(ROOT) if isinstance(field.default, Path) else field.default
        rows.append(f"| `{PREFIX}{name.upper()}` | `{default}` | {allowed(field)} |")
    return rows


def test_every_setting_stands_in_the_table_with_its_default_and_bounds() -> None:
    assert [line for line in README.splitlines() if line.startswith(f"| `{PREFIX}")] == settings_rows()


def test_every_variable_of_the_deployment_stands_in_the_table_with_its_default() -> None:
    variables = re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env").read_text(), re.MULTILINE)
    rows = re.findall(rf"^\| `((?!{PREFIX})[A-Z_]+)` \| `([^`]+)` \| .+\. \|$", README, re.MULTILINE)
    assert rows == variables


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert sorted(re.findall(r"^### (\w+)$", README, re.MULTILINE)) == sorted(alert_names())


@pytest.mark.parametrize("path", re.findall(r"\]\((?!http|#)([^)#]+)", README))
def test_every_linked_file_exists(path: str) -> None:
    assert (DOCKER / path).exists()


@pytest.mark.parametrize("title", re.findall(r'"([A-Z][a-z-]+(?: [a-z]+)+)"', README))
def test_every_panel_that_is_named_exists(title: str) -> None:
    boards = "".join(path.read_text() for path in DOCKER.glob("grafana/dashboards/*.json"))
    assert f'"title": "{title}' in boards

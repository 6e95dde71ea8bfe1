"""Which way imports point (`service -> models.{skeleton,crop,contract}`, `export -> models`), and what they load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIGHT = {"models.spec.skeleton", "models.spec.crop", "models.spec.contract"}


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            modules.add(node.module or "")
            modules |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "models"}
    return modules


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", sources("models") + sources("export"), ids=str)
def test_models_and_export_do_not_know_the_service(path: Path) -> None:
    assert not {m for m in imported_modules(path) if m.split(".")[0] == "service"}


@pytest.mark.parametrize("path", sources("models"), ids=str)
def test_models_do_not_know_the_export(path: Path) -> None:
    assert not {m for m in imported_modules(path) if m.split(".")[0] == "export"}


@pytest.mark.parametrize("path", sources("service"), ids=str)
def test_service_knows_only_the_light_part_of_models(path: Path) -> None:
    modules = imported_modules(path)
    assert not {m for m in modules if m.split(".")[0] in {"torch", "onnx", "export"}}
    assert {m for m in modules if m.startswith("models.")} <= LIGHT | {"models"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import models", {"torch", "onnx", "onnxruntime"}),
        ("import models.spec.skeleton, models.spec.crop, models.spec.contract", {"torch", "onnx", "onnxruntime"}),
        ("import service", {"torch", "onnx", "onnxruntime"}),
        ("import service.api.app, service.cli.main", {"torch", "onnx"}),
    ],
)
def test_importing_stays_light(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not absent & set(answer.stdout.split())

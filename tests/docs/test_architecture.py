"""Imports point down only, as the README's table of rooms says, and what is imported stays light."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

_ROW = re.compile(r"^([\w.]+) +->((?: [\w.]+)*) {4,}\S", re.MULTILINE)


def arrows() -> dict[str, set[str]]:
    """What each room of the README's table may import at once."""
    table = (ROOT / "README.md").read_text().partition("```text\nservice.cli")[2].partition("```")[0]
    return {room: set(targets.split()) for room, targets in _ROW.findall(f"service.cli{table}")}


ARROWS = arrows()


def below(room: str) -> set[str]:
    """All that a room may import."""
    return {room}.union(*(below(target) for target in ARROWS[room]))


def room_of(module: str) -> str | None:
    """The room of a module of ours; None for a package that only holds rooms, and for what is not ours."""
    top, _, rest = module.partition(".")
    first = rest.partition(".")[0]
    if top == "export":
        return "export"
    if top not in ("service", "models") or not rest or first == "__main__":
        return None
    return f"{top}.{first}" if f"{top}.{first}" in ARROWS else f"{top}.base"


def sources() -> Iterator[Path]:
    for package in ("service", "models", "export"):
        yield from sorted((ROOT / package).rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return modules


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_table_has_every_room_and_no_circle() -> None:
    folders = {
        f"{top}.{path.name}" for top in ("service", "models") for path in (ROOT / top).iterdir() if is_room(path)
    }
    assert set(ARROWS) == folders | {"service.base", "export"}
    assert all(room not in below(target) for room, targets in ARROWS.items() for target in targets)


def is_room(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


@pytest.mark.parametrize("path", list(sources()), ids=name_of)
def test_imports_point_down(path: Path) -> None:
    room = room_of(name_of(path))
    if room is not None:
        assert {room_of(module) for module in imported_modules(path)} - {None} <= below(room)


@pytest.mark.parametrize("path", sorted((ROOT / "service").rglob("*.py")), ids=name_of)
def test_the_service_imports_neither_torch_nor_onnx(path: Path) -> None:
    assert not {module.partition(".")[0] for module in imported_modules(path)} & {"torch", "onnx"}


@pytest.mark.parametrize(
    ("package", "framework"), [("fastapi", "service.api"), ("starlette", "service.api"), ("uvicorn", "service.api")]
)
def test_frameworks_stay_in_their_room(package: str, framework: str) -> None:
    for path in sources():
        if package in {module.partition(".")[0] for module in imported_modules(path)}:
            assert room_of(name_of(path)) in (framework, "service.cli"), path


def test_no_constant_of_one_model_stands_in_the_service() -> None:
    """Sizes, joints and their order are the model file's to say: tests/system/test_other_model.py serves another."""
    for path in (ROOT / "service").rglob("*.py"):
        names = {module.rpartition(".")[2] for module in imported_modules(path)}
        assert not names & {"INPUT_SIZE", "JOINTS", "LIMBS", "MIRROR", "MPII", "MARGIN"}, path


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import models", {"torch", "onnx", "onnxruntime"}),
        ("import models.spec.contract, models.spec.crop, models.spec.heatmaps", {"torch", "onnx", "onnxruntime"}),
        ("import service", {"torch", "onnx", "onnxruntime"}),
        ("import service.api.app, service.cli.main", {"torch", "onnx"}),
    ],
)
def test_importing_stays_light(statement: str, absent: set[str]) -> None:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not absent & set(answer.stdout.split())

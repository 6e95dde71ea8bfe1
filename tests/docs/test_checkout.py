"""A checkout on Windows: what git writes there with its usual setting, `core.autocrlf`."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")


def git(*arguments: str, **options: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True, **options).stdout


def test_every_file_keeps_its_bytes(tmp_path: Path) -> None:
    entries = [entry.split(maxsplit=3) for entry in git("ls-files", "--stage", "-z", ":!*.onnx").split("\0") if entry]
    names = [name for *_, name in entries]
    assert {"Makefile", ".ci/run", "docker/check", "docker/install-packages", "tests/photos/camera.jpg"} <= set(names)
    windows = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf")
    git(*windows, "checkout-index", f"--prefix={tmp_path}/", "--", *names)
    paths = "".join(f"{tmp_path / name}\n" for name in names)
    written = git("hash-object", "--no-filters", "--stdin-paths", input=paths).split()
    changed = [name for (_, committed, _, name), found in zip(entries, written, strict=True) if committed != found]
    assert changed == []


@pytest.mark.parametrize("name", ["models/weights/dsntr-resnet50-28px.onnx", "tests/photos/astronaut.jpg"])
def test_models_and_photos_are_binary(name: str) -> None:
    assert git("check-attr", "binary", name) == f"{name}: binary: set\n"

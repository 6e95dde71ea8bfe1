import subprocess
import sys

from models.evaluation.pck import Accuracy
from models.spec.paper import COLUMNS, TABLE_4


def test_columns_are_the_papers() -> None:
    assert COLUMNS == ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total")


def test_rows_are_the_papers() -> None:
    rows = {method.name: method for method in TABLE_4}
    ours = rows["DSNTr ResNet-50@28px"]
    assert list(ours.pckh.values()) == [97.8, 96.0, 90.0, 84.3, 89.8, 85.2, 79.7, 89.5]
    assert (ours.time_ms, ours.time_deviation_ms, ours.memory_mib) == (18.6, 0.5, 636)
    first = rows["Tompson et al."]
    assert (first.pckh["Total"], first.time_ms, first.time_deviation_ms, first.memory_mib) == (82.0, None, None, None)
    assert len(rows) == 7


def test_every_row_has_every_column_in_its_place() -> None:
    """In each method heads are the easiest and ankles the hardest, and Total lies between."""
    for method in TABLE_4:
        assert tuple(method.pckh) == COLUMNS
        assert max(method.pckh, key=method.pckh.__getitem__) == "Head"
        assert min(method.pckh, key=method.pckh.__getitem__) == "Ankle"


def test_measured_rows_have_the_papers_columns() -> None:
    accuracy = Accuracy(dict.fromkeys(COLUMNS[:-1], 50.0), total=60.0, limbs=55.0, people=1, joints=14)
    assert accuracy.row() == ["50.0"] * 7 + ["60.0"]


def test_it_needs_neither_numpy_nor_torch() -> None:
    code = "import models.spec.paper, sys; print({'numpy', 'torch', 'PIL'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"

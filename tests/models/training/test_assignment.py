import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.networks.finder import cells, grid_shapes
from models.training.assignment import area, assign, corners, intersection, iou

CELLS = cells(grid_shapes(128, 128))
NOBODY = torch.zeros(0, 4)


def around(boxes: Tensor, error: float) -> Tensor:
    """For each cell the box, of some, whose centre is nearest, moved right by an error."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    nearest = torch.cdist(CELLS[:, :2], centres).argmin(1)
    return boxes[nearest] + torch.tensor([error, 0.0, error, 0.0])


def test_areas_and_overlaps_are_those_of_rectangles() -> None:
    box = torch.tensor([[0.0, 0.0, 4.0, 2.0]])
    others = torch.tensor([[0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 6.0, 2.0], [4.0, 0.0, 5.0, 2.0], [9.0, 9.0, 8.0, 8.0]])
    assert area(others).tolist() == [8, 8, 2, 0]
    assert intersection(box, others).tolist() == [8, 4, 0, 0]
    assert iou(box, others).tolist() == pytest.approx([1, 1 / 3, 0, 0])
    assert corners(torch.tensor([1.0, 2.0, 3.0, 4.0])).tolist() == [1, 2, 4, 6]


def test_a_person_gets_cells_within_that_state_it_best() -> None:
    person = torch.tensor([[32.0, 32.0, 96.0, 96.0]])
    boxes = around(person, 16)
    best = 100  # a cell of the finest grid: row 6, column 4
    boxes[best] = person[0]
    scores = torch.full((len(CELLS),), 0.3)
    assigned = assign(scores, boxes, CELLS, person, NOBODY)
    chosen = (assigned.person == 0).nonzero()[:, 0]
    # Nine boxes of overlap 0.6 and one of 1 add up to 6.
    assert len(chosen) == 6
    assert best in chosen.tolist()
    centres = CELLS[chosen, :2]
    assert ((centres > 32) & (centres < 96)).all()
    assert assigned.targets[best] == 1
    rest = [cell for cell in chosen.tolist() if cell != best]
    assert assigned.targets[rest].tolist() == pytest.approx([0.6**4] * 5)
    assert (assigned.targets[assigned.person < 0] == 0).all()
    assert assigned.counted.all()


def test_surer_cells_come_first() -> None:
    person = torch.tensor([[32.0, 32.0, 96.0, 96.0]])
    scores = torch.full((len(CELLS),), 0.04)
    sure = [85, 86, 87, 88, 101, 102, 103, 104, 117, 118]
    scores[sure] = 0.64
    assigned = assign(scores, around(person, 8), CELLS, person, NOBODY)
    chosen = (assigned.person == 0).nonzero()[:, 0].tolist()
    assert len(chosen) == 7  # ten boxes of overlap 7 / 9
    assert set(chosen) < set(sure)
    assert assigned.targets[chosen].tolist() == pytest.approx([7 / 9] * 7)


def test_sides_of_a_person_are_within_reach_of_its_cells() -> None:
    person = torch.tensor([[0.0, 0.0, 128.0, 128.0]])  # in reach of the finest grid's 80 px only around the middle
    assigned = assign(torch.full((len(CELLS),), 0.5), around(person, 0), CELLS, person, NOBODY)
    centres, strides = CELLS[assigned.person == 0, :2], CELLS[assigned.person == 0, 2]
    furthest = torch.maximum(centres, 128 - centres).amax(1)
    assert len(centres) == 10
    assert (furthest <= 10 * strides).all()


def test_a_person_between_cells_gets_the_nearest_fine_one() -> None:
    tiny = torch.tensor([[49.0, 49.0, 51.0, 51.0]])
    far = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(len(CELLS), 4)
    assigned = assign(torch.full((len(CELLS),), 0.1), far, CELLS, tiny, NOBODY)
    [cell] = (assigned.person == 0).nonzero()[:, 0].tolist()
    assert CELLS[cell].tolist() == [52, 52, 8]


def test_a_cell_boxes_the_person_whom_it_covers_best() -> None:
    people = torch.tensor([[32.0, 32.0, 96.0, 96.0], [40.0, 32.0, 104.0, 96.0]])
    assigned = assign(torch.full((len(CELLS),), 0.5), people[1].expand(len(CELLS), 4), CELLS, people, NOBODY)
    inside = assigned.person >= 0
    assert (assigned.person[inside] == 1).sum() >= 5
    assert assigned.targets[assigned.person == 1].tolist() == pytest.approx([1] * int((assigned.person == 1).sum()))


def test_scores_within_ignored_boxes_do_not_count_but_a_persons_do() -> None:
    ignored = torch.tensor([[0.0, 0.0, 64.0, 128.0]])
    person = torch.tensor([[24.0, 24.0, 72.0, 104.0]])
    boxes = torch.cat([CELLS[:, :2] - 4, CELLS[:, :2] + 4], 1)
    reaching = int(((CELLS[:, 0] > 80) & (CELLS[:, 2] == 8)).nonzero()[0, 0])
    boxes[reaching] = torch.tensor([10.0, 10.0, 80.0, 60.0])  # lies mostly within, its cell does not
    assigned = assign(torch.full((len(CELLS),), 0.5), boxes, CELLS, NOBODY, ignored)
    assert (assigned.person == -1).all()
    assert not assigned.counted[reaching]
    others = torch.arange(len(CELLS)) != reaching
    assert (assigned.counted == (CELLS[:, 0] >= 64))[others].all()
    boxes[:] = person[0]
    assigned = assign(torch.full((len(CELLS),), 0.5), boxes, CELLS, person, ignored)
    assert assigned.counted[assigned.person == 0].all()


@given(st.integers(0, 2**31), st.integers(0, 6))
def test_everybody_gets_a_cell_of_their_own_at_most_ten(seed: int, people: int) -> None:
    random = torch.Generator().manual_seed(seed)
    low = torch.rand((people, 2), generator=random) * 96
    wanted = torch.cat([low, low + 4 + torch.rand((people, 2), generator=random) * 60], 1)
    boxes = torch.rand((len(CELLS), 4), generator=random) * 64
    boxes[:, 2:] += boxes[:, :2]
    assigned = assign(torch.rand(len(CELLS), generator=random), boxes, CELLS, wanted, NOBODY)
    counts = torch.bincount(assigned.person[assigned.person >= 0], minlength=people)
    assert (counts <= 10).all()
    if people == 1:
        assert counts[0] >= 1
    assert ((assigned.targets >= 0) & (assigned.targets <= 1)).all()
    assert (assigned.targets[assigned.person < 0] == 0).all()
    for index in range(people):
        mine = assigned.person == index
        overlaps = iou(boxes[mine], wanted[index])
        if mine.any():
            assert assigned.targets[mine].max().item() == pytest.approx(overlaps.max().item(), abs=1e-5)

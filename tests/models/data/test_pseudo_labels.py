import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.data.pack import Example, PackError, read_people, training_packs
from models.data.pseudo_labels import (
    LABEL_TRUST,
    PseudoLabels,
    corrected_labels,
    pseudo_label_files,
    pseudo_label_line,
    read_pseudo_labels,
    vote,
)
from models.spec.skeleton import MIRROR


@pytest.fixture
def person(pack: Path) -> Example:
    return next(person for person in read_people(pack, training_packs(pack)) if person.source == "lspet")


def candidates(*models: tuple[np.ndarray, float]) -> PseudoLabels:
    """One model for each of the joints [16, 2] and its trust."""
    return PseudoLabels(
        np.stack([joints for joints, _ in models]), np.stack([np.full(16, trust) for _, trust in models])
    )


def correct(person: Example, pseudo_labels: PseudoLabels) -> tuple[np.ndarray, np.ndarray]:
    (corrected,), weights = corrected_labels([person], {person.id: pseudo_labels})
    assert np.array_equal(corrected.labelled, weights[0] > 0)
    return corrected.joints, weights[0]


def elsewhere(person: Example, joint: int = 9) -> np.ndarray:
    joints = person.joints.copy()
    joints[joint] += 20
    return joints


def test_who_agrees_wins_and_the_mean_is_weighted_by_trust() -> None:
    zero = np.zeros((16, 2))
    joints, weights = vote(candidates((zero, 0.4), (zero + 3, 0.2), (zero + 50, 0.5)), near=5.0)
    assert np.allclose(joints, 1)
    assert np.allclose(weights, 0.6 * 0.6 / 1.1)


def test_a_vote_that_all_support_counts_one_at_most() -> None:
    zero = np.zeros((16, 2))
    assert np.allclose(vote(candidates((zero, 0.9), (zero, 0.9)), near=5.0)[1], 1)
    assert np.allclose(vote(candidates((zero, 0.7), (zero, 0.0)), near=5.0)[1], 0.7)


def test_candidates_without_trust_have_no_place_and_no_weight() -> None:
    zero = np.zeros((16, 2))
    joints, weights = vote(candidates((zero, 0.0), (zero + 30, 0.3)), near=5.0)
    assert np.allclose(joints, 30)
    assert np.allclose(weights, 0.3)
    assert not vote(candidates((zero, 0.0), (zero, 0.0)), near=5.0)[1].any()


def test_what_is_hardly_trusted_is_not_used() -> None:
    far = np.arange(4)[:, None, None] * np.full((16, 2), 40.0)
    assert not vote(PseudoLabels(far, np.full((4, 16), 0.3)), near=5.0)[1].any()


def test_the_order_of_the_candidates_changes_nothing() -> None:
    random = np.random.default_rng(0)
    some = PseudoLabels(random.uniform(0, 20, (4, 16, 2)), random.uniform(0, 1, (4, 16)))
    for order in ([1, 0, 3, 2], [3, 2, 1, 0]):
        other = PseudoLabels(some.joints[order], some.trust[order])
        for one, two in zip(vote(some, near=5.0), vote(other, near=5.0), strict=True):
            assert np.allclose(one, two)


def test_agreeing_models_leave_labels_and_fill_gaps(person: Example) -> None:
    joints, weights = correct(person, candidates((person.joints, 0.9), (person.joints, 0.7)))
    assert np.allclose(joints, person.joints)
    assert not person.labelled[6]
    assert np.allclose(weights, 1)


def test_exchanged_legs_are_changed_back(person: Example) -> None:
    truth = person.joints.copy()
    truth[:6] = truth[list(MIRROR)][:6]
    joints, weights = correct(person, candidates((truth, 0.9), (truth, 0.9)))
    assert np.allclose(joints[:6], truth[:6])
    assert (weights[[0, 1, 4, 5]] < 1).all() and (weights > 0.5).all()


def test_a_label_that_two_models_outvote_is_replaced(person: Example) -> None:
    truth = elsewhere(person)
    joints, weights = correct(person, candidates((truth, 0.5), (truth, 0.5)))
    assert np.allclose(joints[9], truth[9])
    assert weights[9] == pytest.approx(1 / 1.6)
    assert weights[0] == 1


def test_a_label_that_one_model_contradicts_counts_less(person: Example) -> None:
    joints, weights = correct(person, candidates((elsewhere(person), 0.5)))
    assert np.allclose(joints[9], person.joints[9])
    assert weights[9] == pytest.approx(0.6 * 0.6 / 1.1)
    assert weights[0] == 1


def test_unsure_models_change_little(person: Example) -> None:
    joints, weights = correct(person, candidates((person.joints + 20, 0.05), (person.joints - 20, 0.05)))
    labelled = person.labelled
    assert np.allclose(joints[labelled], person.joints[labelled])
    assert (weights[labelled] > 0.5).all()
    assert weights[6] == 0


def test_people_without_pseudo_labels_keep_their_labels(person: Example) -> None:
    (corrected,), weights = corrected_labels([person], {})
    assert np.array_equal(corrected.joints, person.joints)
    assert np.array_equal(weights[0] > 0, person.labelled)


def test_experts_and_authors_keep_their_labels_and_have_gaps_filled(person: Example) -> None:
    models = candidates((person.joints + 20, 0.9), (person.joints + 20, 0.9))
    for source in ("lsp", "parse"):
        assert source not in LABEL_TRUST
        joints, weights = correct(replace(person, source=source), models)
        assert np.array_equal(joints[person.labelled], person.joints[person.labelled])
        assert np.allclose(joints[6], person.joints[6] + 20)
        assert np.allclose(weights, 1)
    _, weights = correct(replace(person, source="mpii"), models)
    assert weights.tolist() == [1.0] * 6 + [0.0] + [1.0] * 9  # what MPII leaves out is not shown


def test_pseudo_labels_of_several_files_are_joined_by_person(pack: Path, tmp_path: Path) -> None:
    assert [path.name for path in pseudo_label_files(pack)] == ["opinions.jsonl.gz"]
    more = tmp_path / "more.jsonl.gz"
    joints = np.arange(32).reshape(16, 2) + 0.04
    with gzip.open(more, "wt") as lines:
        lines.writelines(f"{pseudo_label_line(name, joints, np.full(16, 0.7))}\n" for name in ("lspet_0", "new_0"))
    read = read_pseudo_labels([*pseudo_label_files(pack), more])
    assert len(read) == 7
    assert read["lspet_0"].joints.shape == (3, 16, 2)
    assert read["new_0"].joints.shape == (1, 16, 2)
    assert read["new_0"].joints[0, 3].tolist() == [6.0, 7.0]  # to a tenth of a pixel
    assert np.allclose(read["new_0"].trust, 0.7)
    assert np.allclose(read["lspet_0"].trust[:, 0], [0.94, 0.99, 0.7])
    assert read_pseudo_labels(pseudo_label_files(tmp_path / "nowhere")) == {}


def test_a_score_of_zero_and_a_model_that_is_missing_are_no_candidates(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl.gz"
    with gzip.open(path, "wt") as lines:
        lines.write(json.dumps({"id": "a", "movenet": [[0, 0, 0]] * 16, "efficientpose": None}) + "\n")
    trust = read_pseudo_labels([path])["a"].trust
    assert trust.shape == (1, 16)
    assert not trust.any()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no gzip", "Not a gzipped"),
        (gzip.compress(b'{"movenet": []}\n'), "'id'"),
        (gzip.compress(b'{"id": "a", "movenet": [[1, 2, 3]]}\n'), r"a has joints \(1, 3\) by movenet"),
        (gzip.compress(b'{"id": "a"}\n' * 9)[:-9], "EOFError"),
    ],
)
def test_files_that_cannot_be_read_are_refused(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(PackError, match=rf"broken\.jsonl\.gz cannot be read: .*{sentence}"):
        read_pseudo_labels([path])
    with pytest.raises(PackError, match=r"none\.jsonl\.gz cannot be read: FileNotFoundError"):
        read_pseudo_labels([tmp_path / "none.jsonl.gz"])

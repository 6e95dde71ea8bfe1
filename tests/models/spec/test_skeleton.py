from models.spec.skeleton import JOINTS, LIMB_JOINTS, LIMBS, MIRROR, PCKH_COLUMNS, PCKH_TOTAL, TORSO


def test_mirror_exchanges_left_and_right_and_undoes_itself() -> None:
    for joint, mirrored in enumerate(MIRROR):
        assert MIRROR[mirrored] == joint
        exchanged = JOINTS[joint].replace("left", "?").replace("right", "left").replace("?", "right")
        assert JOINTS[mirrored] == exchanged


def test_limbs_connect_every_joint_into_one_body() -> None:
    reached = {0}
    for _ in JOINTS:
        reached |= {b for a, b in LIMBS if a in reached} | {a for a, b in LIMBS if b in reached}
    assert reached == set(range(len(JOINTS)))


def test_total_is_every_column_and_the_neck_but_neither_pelvis_nor_thorax() -> None:
    columns = {joint for joints in PCKH_COLUMNS.values() for joint in joints}
    assert set(PCKH_TOTAL) == columns | {JOINTS.index("upper_neck")}
    assert set(LIMB_JOINTS) == columns - {JOINTS.index("head_top")}
    assert [JOINTS[joint] for joint in TORSO] == ["left_shoulder", "right_hip"]

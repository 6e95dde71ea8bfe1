from service import errors


def every_problem(root: type[errors.ServiceError] = errors.ServiceError) -> list[type[errors.ServiceError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in every_problem(child))]


def test_reasons_are_unique_and_statuses_are_errors() -> None:
    kinds = every_problem()
    assert len({kind.reason for kind in kinds}) == len(kinds)
    assert all(400 <= kind.status < 600 for kind in kinds)


def test_the_module_draws_the_tree_as_it_is() -> None:
    drawn = {line.split()[-3]: line.split()[-2:] for line in str(errors.__doc__).splitlines() if "──" in line}
    found = {kind.__name__: [str(kind.status), kind.reason] for kind in every_problem()[1:]}
    assert drawn == found

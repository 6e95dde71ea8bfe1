"""How accurate a model is: `python -m models.evaluation MODEL --data FOLDER`.

MODEL is an exported ONNX file, a training checkpoint or the address of a running service. Prints PCKh@0.5 on the MPII
people of a pack (`--data`) or of MPII's own files (`--mpii`, `--images`) as the paper's table, and PCK@0.2 for each of
the other data sets. Published predictions are scored against MPII's validation people with `--truths`, and stand beside
a model's on the same people with `--official`. `--visible-boxes` measures half bodies, and `--scenes` the whole chain,
photo in and people out: then MODEL is a service or a file of another program's answers (`models.evaluation.answers`).
"""

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from models.data.halves import DEVELOPMENT_HALVES, read_halves
from models.data.mpii import read_annotated_people, read_official, read_predictions, read_truths
from models.data.pack import DEVELOPMENT, Example, PackError, read_people
from models.data.scenes import DEVELOPMENT_SCENES, read_scenes
from models.data.views import close_ups, placed_in_scenes
from models.evaluation import chain, official, visible_boxes
from models.evaluation.answers import AnswerError, ask_photos, is_address, read_answers
from models.evaluation.measures import accuracies, compare
from models.evaluation.pck import Accuracy, Difference, pckh, table
from models.evaluation.predictors import predictor
from models.networks.checkpoint import WeightsError

ANSWERS: Final = ".jsonl"
"""How the name of a file of answers ends."""


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    options = _parse_options(arguments)
    measure = next((measure for name, measure in MEASURES.items() if getattr(options, name)), _evaluate)
    try:
        measure(options)
    except (PackError, WeightsError, AnswerError, OSError) as error:
        raise SystemExit(str(error)) from error


def _evaluate(options: argparse.Namespace) -> None:
    people = _people(options)
    joints = predictor(options.model, not options.without_boxes)(people).joints
    difference = None
    if options.against:
        others = predictor(options.against, not options.without_boxes)(people).joints
        difference = compare(people, joints, others)
    _print(accuracies(people, joints), difference, options.json)


def _evaluate_predictions(options: argparse.Namespace) -> None:
    truths, joints = read_truths(options.truths), read_predictions(Path(options.model))
    measured = {Path(options.model).name: pckh(joints, truths.joints, truths.labelled, truths.head_sizes)}
    _print(measured, None, options.json)


def _evaluate_official(options: argparse.Namespace) -> None:
    people, places = read_official(options.data, [options.pack or DEVELOPMENT])
    truths, published = official.read_published(options.official, places)
    joints = predictor(options.model, not options.without_boxes)(people).joints
    comparison = official.beside_published(people, joints, truths, published)
    if options.json:
        differences = {name: difference._asdict() for name, difference in comparison.differences.items()}
        print(json.dumps(_plain({**asdict(comparison), "differences": differences, "caveat": official.CAVEAT})))
        return
    print(table(comparison.accuracies))
    for name, difference in comparison.differences.items():
        print(f"beside {name}: {difference}")
    print(official.CAVEAT)


def _evaluate_halves(options: argparse.Namespace) -> None:
    halves = list(read_halves(options.data, [options.pack or DEVELOPMENT_HALVES]))
    predictions = predictor(options.model, not options.without_boxes)([half.person for half in halves])
    rows = visible_boxes.by_cut(halves, predictions)
    print(
        json.dumps(_plain({cut: asdict(row) for cut, row in rows.items()}))
        if options.json
        else visible_boxes.table(rows)
    )


def _evaluate_scenes(options: argparse.Namespace) -> None:
    scenes = list(read_scenes(options.data, [options.pack or DEVELOPMENT_SCENES]))
    if is_address(options.model):
        answers = ask_photos(options.model, [scene.picture for scene in scenes])
    else:
        answers = read_answers(Path(options.model), [scene.id for scene in scenes])
    measured = chain.measure(scenes, answers)
    print(json.dumps(_plain(asdict(measured))) if options.json else chain.table(measured))


MEASURES: Final = {
    "truths": _evaluate_predictions,
    "official": _evaluate_official,
    "visible_boxes": _evaluate_halves,
    "scenes": _evaluate_scenes,
}
"""What is measured in place of PCKh, by the option that says so."""


def _parse_options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.evaluation", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("model", help="an .onnx file, a checkpoint, a service's address, predictions (.h5, .mat), or answers (.jsonl)")
    add("--data", type=Path, help="folder of the packs")
    add("--pack", help=f"name of the pack; left out, {DEVELOPMENT}, {DEVELOPMENT_HALVES} or {DEVELOPMENT_SCENES}")
    add("--source", help="only people of this data set")
    add("--mpii", type=Path, help="MPII annotations in the form of the hourglass' valid.h5")
    add("--images", type=Path, help="MPII's folder of photos, with --mpii")
    add("--truths", type=Path, help="detections_our_format.mat, to score published predictions")
    add("--official", type=Path, metavar="FOLDER", help="official validation people only, beside the predictions there")
    add("--visible-boxes", action="store_true", help="half bodies, with a box around what is visible")
    add("--scenes", action="store_true", help="everybody in whole photos, found by a service; or answers from a file")
    add("--against", help="another model, compared with the first on the same people")
    add("--share", type=float, help="place people in larger photos, as this fraction of their side (below 0.53)")
    add("--seed", type=int, default=0, help="of their places, with --share")
    add("--close-ups", type=float, metavar="TORSOS", help="cut photos off this far below the neck")
    add("--without-boxes", action="store_true", help="do not tell the service where people are")
    add("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    if (complaint := _complaint(options)) is not None:
        parser.error(complaint)
    return options


def _complaint(options: argparse.Namespace) -> str | None:
    """Why the options do not go together, in a sentence."""
    models = [model for model in (options.model, options.against) if model is not None]
    if sum(source is not None for source in (options.data, options.mpii, options.truths)) != 1:
        return "say whom to evaluate on: one of --data, --mpii and --truths"
    if options.without_boxes and not all(map(is_address, models)):
        return "--without-boxes needs a service: a model file computes the crop around a box"
    if (options.share or options.close_ups or options.source) and not options.data:
        return "--share, --close-ups and --source are for people of --data"
    if options.share and options.close_ups:
        return "say one of --share and --close-ups"
    if options.mpii and not options.images:
        return "--mpii needs --images, MPII's folder of photos"
    return _complaint_of_measure(options)


def _complaint_of_measure(options: argparse.Namespace) -> str | None:
    """Why a measure other than PCKh does not go with the other options, in a sentence."""
    names = [f"--{name.replace('_', '-')}" for name in MEASURES if getattr(options, name)]
    if len(names) > 1:
        return f"{' and '.join(names)} are different measures: say one of them"
    answers = options.model.endswith(ANSWERS)
    if answers and not options.scenes:
        return f"a file of answers ({ANSWERS}) is of whole photos: it needs --scenes"
    if options.scenes and not (answers or is_address(options.model)):
        return f"--scenes needs a service's address or a file of answers ({ANSWERS})"
    if names and not options.truths and not options.data:
        return f"{names[0]} is of a pack of --data"
    if names and (options.against or options.share or options.close_ups or options.source):
        return f"--against, --share, --close-ups and --source do not go with {names[0]}"
    return None


def _people(options: argparse.Namespace) -> list[Example]:
    if options.mpii:
        return read_annotated_people(options.mpii, options.images)
    pack = options.pack or DEVELOPMENT
    everybody = list(read_people(options.data, [pack]))
    people = [person for person in everybody if options.source in (None, person.source)]
    if not people:
        sources = ", ".join(sorted({person.source for person in everybody}))
        raise SystemExit(f"nobody in the pack {pack} is of {options.source}; it has people of {sources}")
    if options.close_ups:
        return close_ups(people, options.close_ups)
    return _scenes(people, options) if options.share else people


def _scenes(people: list[Example], options: argparse.Namespace) -> list[Example]:
    """People in larger photos; a line on stderr where pictures show them smaller already."""
    fractions = [max(person.box.width, person.box.height) / person.size for person in people]
    smaller = [fraction for fraction in fractions if fraction <= options.share]
    if smaller:
        print(
            f"{len(smaller)} of {len(people)} pictures stay as they are, without a background: they show their person "
            f"at {max(smaller):.3f} of their side or less, --share says {options.share}",
            file=sys.stderr,
        )
    return placed_in_scenes(people, options.share, options.seed)


def _print(measured: Mapping[str, Accuracy], difference: Difference | None, as_json: bool) -> None:
    if as_json:
        document: dict[str, Any] = {name: asdict(accuracy) for name, accuracy in measured.items()}
        print(json.dumps(_plain(document if difference is None else document | {"difference": difference._asdict()})))
        return
    print(table(measured))
    if difference is not None:
        print(difference)


def _plain(value: Any) -> Any:
    """The same without nan and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    main()

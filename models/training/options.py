"""What the commands of this package share: a run's options as typed fields, and the command line made of them."""

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self, get_args, get_origin, get_type_hints


class RunError(ValueError):
    """A run that can neither begin nor go on."""


@dataclass(frozen=True, slots=True)
class Option:
    """What is to be known of a field of `RunOptions` beside its type and its default.

    Attributes:
        help: What it is.
        choices: The values that it can have; empty where there are too many.
        decides: Whether it decides what is learnt, rather than where.
        parse: Reads one value of a field that has several; None where it has one.
        form: What such a value looks like.
    """

    help: str
    choices: Collection[Any] = ()
    decides: bool = True
    parse: Callable[[str], Any] | None = None
    form: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a run: fields annotated with an `Option`.

    Attributes:
        command: The command whose options they are.
        summary: What the command does.
    """

    command: ClassVar[str]
    summary: ClassVar[str]

    data: Path
    out: Path

    @classmethod
    def parser(cls) -> argparse.ArgumentParser:
        """The parser whose options are the fields."""
        parser = argparse.ArgumentParser(prog=cls.command, description=cls.summary)
        defaults = {each.name: each.default for each in fields(cls)}
        for name, (kind, option) in cls.options().items():
            parser.add_argument(flag(name), **_argument(kind, option, defaults[name]))
        return parser

    @classmethod
    def parse(cls, arguments: list[str] | None = None) -> Self:
        """Read the command line; what no run can be ends the process with status 2 and a sentence."""
        given: dict[str, Any] = vars(cls.parser().parse_args(arguments))
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        try:
            return cls(**values)
        except ValueError as error:
            cls.refuse(str(error))

    @classmethod
    def refuse(cls, sentence: str) -> NoReturn:
        """End the process with status 2 and a sentence."""
        parser = cls.parser()
        parser.exit(2, f"{parser.prog}: error: {sentence}\n")

    @classmethod
    def options(cls) -> Mapping[str, tuple[Any, Option]]:
        """Type and description of each field."""
        hints = get_type_hints(cls, include_extras=True)
        return {each.name: get_args(hints[each.name]) for each in fields(cls)}

    @property
    def files(self) -> Mapping[str, Path]:
        """The files beside the packs that the run learns from, by name; those that are missing are not there."""
        return {}

    def check_choices(self) -> None:
        """Check the values of those fields that have few.

        Raises:
            ValueError: A value is none of them.
        """
        for name, (_, option) in self.options().items():
            if option.choices and getattr(self, name) not in option.choices:
                known = ", ".join(map(str, option.choices))
                raise ValueError(f"{flag(name)} is one of {known}, not {getattr(self, name)}")

    def deciding(self) -> dict[str, Any]:
        """Of `to_json`, what decides what is learnt: neither paths nor where the run takes place."""
        values = self.to_json()
        return {name: values[name] for name, (_, option) in self.options().items() if option.decides}

    def to_json(self) -> dict[str, Any]:
        """Every option as JSON has it."""
        return {name: _plain(getattr(self, name)) for name in self.options()}


def flag(name: str) -> str:
    """A field's name on the command line."""
    return "--" + name.replace("_", "-")


def numbered(name: str, paths: Sequence[Path]) -> dict[str, Path]:
    """Files of one kind by names of their own: `name_1`, `name_2`, ..."""
    return {f"{name}_{number}": path for number, path in enumerate(paths, 1)}


def _argument(kind: Any, option: Option, default: Any) -> dict[str, Any]:
    """What argparse is to know of a field of a type, with a default."""
    if default is MISSING:
        return {"help": option.help, "type": kind, "required": True}
    argument: dict[str, Any] = {"help": option.help, "default": default}
    if default not in (None, ()):
        argument["help"] += f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
    if kind is bool:
        return {"help": option.help, "action": "store_true"}
    if get_origin(kind) is tuple:
        return {**argument, "type": _several(option), "nargs": "+", "metavar": option.form}
    if option.choices:
        argument["choices"] = option.choices
    return {**argument, "type": kind if isinstance(kind, type) else Path}  # an optional path is a path


def _several(option: Option) -> Callable[[str], Any]:
    """The option's `parse`, whose errors argparse shows."""
    parse = option.parse
    assert parse is not None  # a field with several values says how one is read

    def read(text: str) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _plain(value: Any) -> Any:
    """A field's value as JSON has it."""
    if isinstance(value, tuple):
        return [each if isinstance(each, int) else str(each) for each in value]
    return str(value) if isinstance(value, Path) else value

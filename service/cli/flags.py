"""Flags of the command line out of pydantic fields: settings and a request's options are described once."""

import argparse
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo

from service.poses.options import Options, parse_options
from service.settings import PREFIX, Settings

ENGINE_SETTINGS: Final = ("model", "finder", "provider", "precision", "threads", "max_batch")
"""Settings of the network."""

PHOTO_SETTINGS: Final = ("decode_workers", "max_people", "max_pixels")
"""Settings of a photo's way to the network."""

SERVER_SETTINGS: Final = tuple(Settings.model_fields)
"""All settings: a server has them all."""

_METAVARS: Final[dict[Any, str]] = {int: "N", float: "N", Path: "FILE"}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 and the error."""
        self.exit(2, f"{self.prog}: {' '.join(message.splitlines())}; --help says more\n")


def add_settings(parser: argparse.ArgumentParser, names: tuple[str, ...]) -> None:
    """Give a command the flags of some settings."""
    group = parser.add_argument_group(
        "settings", f"Each is an environment variable too, {PREFIX}<NAME>; a flag goes before its variable."
    )
    for name in names:
        field = Settings.model_fields[name]
        default = f"default: {field.default}" if field.default != "" else "default: none"
        _add(group, name, field, more=f"({'; '.join(filter(None, (bounds(field), default)))})")


def read_settings(chosen: argparse.Namespace) -> Settings:
    """The settings of a command line, and of the environment where it names none.

    Raises:
        StartupError: A value is out of bounds or of the wrong kind.
    """
    return Settings.load(**{name: getattr(chosen, name, None) for name in Settings.model_fields})


def add_options(parser: argparse.ArgumentParser, **details: dict[str, str]) -> None:
    """Give a command the flags of a request's options.

    Args:
        parser: The command's.
        details: By option, what its field does not say: `flag` and `metavar`, and `more`, which its help ends with.
    """
    group = parser.add_argument_group("options of POST /pose")
    for name, field in Options.model_fields.items():
        _add(group, name, field, **details.get(name, {}))


def read_options(chosen: argparse.Namespace, max_people: int) -> Options:
    """The options of a command line.

    Raises:
        BadOption: A value is out of range.
    """
    values = ((name, getattr(chosen, name)) for name in Options.model_fields)
    pairs = [(name, ";".join(value) if isinstance(value, list) else value) for name, value in values]
    return parse_options(pairs, max_people)


def bounds(field: FieldInfo) -> str:
    """A number's bounds in words; empty where there are none."""
    words = {"gt": "above", "ge": "at least", "le": "at most"}
    limits = {sign: getattr(rule, sign) for sign in words for rule in field.metadata if hasattr(rule, sign)}
    if {"ge", "le"} <= limits.keys():
        return f"{limits['ge']:,} to {limits['le']:,}"
    return ", ".join(f"{words[sign]} {limit:,}" for sign, limit in limits.items())


def _add(group: Any, name: str, field: FieldInfo, *, more: str = "", flag: str = "", metavar: str = "") -> None:
    """Add a field's flag: a switch that can be off as well, text that may be repeated, or text."""
    kinds = {getattr(kind, "__origin__", kind) for kind in (field.annotation, *get_args(field.annotation))}
    reading: dict[str, Any] = {"metavar": metavar or _metavar(field)}
    if bool in kinds:
        reading = {"action": argparse.BooleanOptionalAction}
    elif tuple in kinds:
        reading["action"] = "append"
    text = f"{field.description} {more}".rstrip().replace("%", "%%")  # argparse formats it
    group.add_argument(flag or "--" + name.replace("_", "-"), dest=name, help=text, **reading)


def _metavar(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return "|".join(get_args(field.annotation))
    return _METAVARS.get(field.annotation, "TEXT")

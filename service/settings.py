"""Every setting of the service, once, with its unit, default and bounds.

A setting is read from the environment variable `DSNT_POSE_<NAME>`; the command line's options go before it. No other
module reads the environment. An empty variable counts as unset. Kubernetes sets variables of this prefix too, for each
Service whose name begins with `dsnt-pose`; they are no settings.
"""

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.spec.contract import SHIPPED_FINDER, SHIPPED_MODEL
from service.errors import StartupError

PREFIX = "DSNT_POSE_"

_SERVICE_VARIABLE: Final = re.compile(r"(\w+_)?(SERVICE_(HOST|PORT)|PORT_\d+_(TCP|UDP|SCTP))(_\w+)?")
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://\S+")

Provider = Literal["auto", "cpu", "openvino", "cuda", "tensorrt"]
Precision = Literal["auto", "int8", "fp16", "bf16", "fp32"]


class Settings(BaseSettings):
    """What the operator may choose; each field is the environment variable `DSNT_POSE_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, protected_namespaces=())

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 in a container.")
    port: int = Field(8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one.")
    root_path: str = Field(
        "",
        pattern=r"^(/[\w.~-]+)*$",
        max_length=200,
        description="Prefix of all paths behind a proxy, such as /vision/pose; the proxy may strip it or not.",
    )
    model: Path = Field(SHIPPED_MODEL, description="Path of the ONNX model file.")
    finder: Path = Field(
        SHIPPED_FINDER,
        description="Path of the ONNX file that finds people where a request has no boxes; the word none takes whole "
        "photos.",
    )
    provider: Provider = Field(
        "auto",
        description="What computes: cpu, openvino, cuda, tensorrt, or auto for the best of the installed runtime.",
    )
    precision: Precision = Field(
        "auto",
        description="int8, fp16, bf16, fp32, or auto for the fastest that provider, processor and model files allow.",
    )
    threads: int = Field(
        0, ge=0, le=1024, description="Threads of the network; 0 takes as many as affinity and cgroup quota allow."
    )
    max_batch: int = Field(
        0,
        ge=0,
        le=256,
        description="Most images computed at once; 0 means 8 on a GPU, on a CPU 4, or as many as threads if fewer.",
    )
    decode_workers: int = Field(
        0,
        ge=0,
        le=64,
        description="Threads that decode and crop photos; 0 takes as many as affinity and cgroup quota allow.",
    )
    max_people: int = Field(
        64, ge=1, le=1024, description="Most people in an answer: boxes of a request, or the largest who are found."
    )
    # Pillow refuses some formats above 178,956,970 pixels; below, our own check is the one that speaks.
    max_pixels: int = Field(2**26, ge=1, le=178_000_000, description="Most pixels (width x height) of a photo.")
    max_body_bytes: int = Field(32 * 2**20, ge=1024, le=2**30, description="Most bytes of a request's body.")
    deadline_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Most seconds for a body to arrive, again until its answer, and again for it to be read.",
    )
    keep_alive_seconds: int = Field(
        75,
        ge=1,
        le=3600,
        description="Seconds that a connection stays open without a request; more than a proxy in front keeps it.",
    )
    drain_delay_seconds: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="Seconds after SIGTERM that connections are still accepted, while readiness is false.",
    )
    drain_seconds: float = Field(
        20.0,
        ge=0,
        le=3600,
        description="Seconds after the delay for accepted requests to finish; then they are refused.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe line to log.")

    @property
    def has_finder(self) -> bool:
        """Whether there is a network that finds people."""
        return str(self.finder) != "none"

    @field_validator("port", mode="before")
    @classmethod
    def _ignore_the_address_of_a_service(cls, port: object) -> object:
        return cls.model_fields["port"].default if _is_service_address(port) else port

    @classmethod
    def load(cls, **chosen: object) -> Self:
        """Settings from the environment, with those `chosen` (not None) going before it.

        Raises:
            StartupError: A value is out of bounds or of the wrong kind; the message names the setting.
        """
        try:
            return cls(**{name: value for name, value in chosen.items() if value is not None})  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "settings"
            is_flag = chosen.get(name) is not None
            source = "--" + name.replace("_", "-") if is_flag else PREFIX + name.upper()
            reason = f"{source} = {first['input']!r}: {first['msg']}"
            raise StartupError(f"the setting {name} is wrong ({reason})") from error


def environment_warnings(environment: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each variable that has the prefix of a setting and is none.

    Args:
        environment: Names and values; the process' own if left out.
    """
    variables = os.environ if environment is None else environment
    ours = {name.upper(): value for name, value in sorted(variables.items()) if value}
    warnings = (_warning(name.removeprefix(PREFIX), ours[name]) for name in ours if name.startswith(PREFIX))
    return [warning for warning in warnings if warning is not None]


def _warning(name: str, value: str) -> str | None:
    known = [field.upper() for field in Settings.model_fields]
    if name == "PORT" and _is_service_address(value):
        default = Settings.model_fields["port"].default
        kind = "the address of a Kubernetes Service, not a port"
        return f"{PREFIX}PORT = {value!r} is {kind}; the default {default} is used"
    if name in known or _SERVICE_VARIABLE.fullmatch(name) or _is_service_address(value):
        return None
    close = difflib.get_close_matches(name, known, n=1)
    return f"{PREFIX}{name} is not a setting" + (f"; did you mean {PREFIX}{close[0]}?" if close else "")


def _is_service_address(value: object) -> bool:
    return isinstance(value, str) and _SERVICE_ADDRESS.fullmatch(value) is not None

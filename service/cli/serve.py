"""`dsnt-pose serve`: photos are answered over HTTP."""

import argparse
import logging
import signal

from service.api import logs
from service.api.app import create_app
from service.api.lifecycle import Lifecycle
from service.api.server import Server, listen
from service.cli.flags import SERVER_SETTINGS, add_settings, read_settings
from service.errors import StartupError
from service.inference.onnx_engine import open_networks
from service.settings import environment_warnings

_log = logging.getLogger(__name__)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give the command its flags: every setting."""
    add_settings(parser, SERVER_SETTINGS)


def run(chosen: argparse.Namespace) -> int:
    """Serve until a signal ends it, and drain; 0.

    Raises:
        StartupError: A setting, the address, the model or its first photo does not let the service start.
    """
    settings = read_settings(chosen)
    logs.configure(settings.log_level)
    for sentence in environment_warnings():
        _log.warning(sentence)
    listener = listen(settings.host, settings.port)
    networks = open_networks(settings)
    app = create_app(settings, lambda _: networks)
    lifecycle: Lifecycle = app.state.lifecycle
    server = Server(app, lifecycle)
    # Before uvicorn listens to signals, and when it raises them again after its drain: a service that was asked to stop
    # and did has not failed.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    try:
        with listener:
            server.run(sockets=[listener])
    except SystemExit:  # uvicorn's, when the application does not start
        if lifecycle.start_error is None:
            raise
    if error := lifecycle.start_error:
        reason = error.__cause__ or error
        raise StartupError(f"the service cannot start: {str(reason) or type(reason).__name__}") from error
    return 0

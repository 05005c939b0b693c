"""Logs, for people who debug: what was started, how long it took, what was tried again. No figure is computed from them.

Rooms log through the standard library under `orchestrator.*`, which is silent until somebody asks; here structlog renders
it: as coloured lines on standard error (`-v`, `-vv`), or as one JSON object a line in a file (`--log FILE`).
"""

import logging
import sys
from pathlib import Path

import structlog

from orchestrator.core.errors import EnvironmentFault

_SHARED: list[structlog.typing.Processor] = [
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure_logs(verbosity: int, file: Path | None) -> None:
    """Send logs to standard error (1: information, 2: everything) and to a file (everything). Replaces earlier settings."""
    root = logging.getLogger("orchestrator")
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.setLevel(
        logging.DEBUG if file is not None or verbosity > 1 else logging.INFO if verbosity else logging.WARNING
    )
    root.propagate = False
    root.addHandler(logging.NullHandler())  # without any, Python prints warnings on standard error by itself
    if verbosity:
        told = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        root.addHandler(
            _handler(logging.StreamHandler(sys.stderr), told, logging.DEBUG if verbosity > 1 else logging.INFO)
        )
    if file is not None:
        try:
            stream = logging.FileHandler(file, encoding="utf-8")
        except OSError as error:
            raise EnvironmentFault(f"cannot write logs to {file}: {error.strerror}") from error
        root.addHandler(_handler(stream, structlog.processors.JSONRenderer(), logging.DEBUG))


def are_on_terminal() -> bool:
    """Whether logs go to standard error: then nothing may draw over them."""
    handlers = logging.getLogger("orchestrator").handlers
    return any(
        isinstance(each, logging.StreamHandler) and not isinstance(each, logging.FileHandler) for each in handlers
    )


def _handler(handler: logging.Handler, renderer: structlog.typing.Processor, level: int) -> logging.Handler:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=_SHARED, processors=[remove, renderer]))
    handler.setLevel(level)
    return handler

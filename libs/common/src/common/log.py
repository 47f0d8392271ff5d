"""Logs: one JSON object per line, or readable lines in a terminal, with request and trace ids, and without secrets.

A value is left out by its key, and whatever looks like a secret or an e-mail address is left out of the finished line,
so that it does not matter whether it came in a field, a message or the text of an exception. Tracebacks are logged
without the values of variables, which in a failing login are the password.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from functools import lru_cache
from typing import Any

import structlog
from opentelemetry import trace

from common.settings import LogFormat, Settings

REDACTED = ("password", "token", "secret", "authorization", "cookie", "email")
"""A key that contains one of these is logged without its value."""
MASK = "[redacted]"
_SHAPES = (
    ("eyJ", r"eyJ[\w-]{8,512}\.[\w.-]+"),
    *((prefix, prefix + r"[\w-]{8,}") for prefix in ("pdk_", "pdl_", "pdr_", "pdd_")),
    ("whsec_", r"whsec_[\w+/=-]{8,}"),
    ("$2", r"\$2[abxy]\$\d\d\$[\w./]+"),
    ("PRIVATE KEY", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^\"-]*"),
    *((seed, seed + "[A-Z2-7]{55}") for seed in ("SUA", "SAA", "SOA")),
    ("://", r"(?<=://)[^\s/:@\"]*:[^\s/@\"]+(?=@)"),
    ("earer ", r"(?<=earer )[\w.~+/=-]{8,}"),
    ("asic ", r"(?<=asic )[\w+/=-]{8,}"),
    ("@", r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+"),
)
"""What a secret looks like: text that must be in the line for it to be worth a closer look, and the secret.

In this order: JSON Web Tokens, tokens of ours, secrets of webhooks, bcrypt hashes, private keys, seeds of NATS
credentials, passwords in URLs, the two kinds of `Authorization`, e-mail addresses. None is looked for further than a
bounded way from where it starts, because clients choose what some lines say.
"""
_MASKS = tuple((sign, re.compile(shape)) for sign, shape in _SHAPES)


def setup_logging(service: str, settings: Settings) -> None:
    """Send structlog's and the standard library's records through one pipeline to standard output."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        _service_name(service),
        _trace_ids,
        _redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_render(settings.log_format),
                mask,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.log_level.upper())
    for noisy in ("uvicorn.access", "httpx", "httpcore", "aiohttp.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for own in ("uvicorn", "uvicorn.error"):
        logging.getLogger(own).handlers = []
        logging.getLogger(own).propagate = True


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of a module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def _render(form: LogFormat) -> list[structlog.typing.Processor]:
    if form is LogFormat.TEXT or (form is LogFormat.AUTO and sys.stdout.isatty()):
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    without_values = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [structlog.processors.ExceptionRenderer(without_values), structlog.processors.JSONRenderer()]


def _service_name(service: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog
        event["service"] = service
        return event

    return add


def _trace_ids(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog
    for key, value in event.items():
        event[key] = MASK if _is_secret(key) else _without_secrets(value)
    return event


def _without_secrets(value: Any) -> Any:  # noqa: ANN401 - whatever is logged
    if isinstance(value, dict):
        return {key: MASK if _is_secret(str(key)) else _without_secrets(one) for key, one in value.items()}
    return [_without_secrets(one) for one in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=1024)
def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in REDACTED)


def mask(_: Any, __: str, line: Any) -> str:  # noqa: ANN401 - structlog
    """Leave out of a finished line whatever looks like a secret."""
    text = str(line)
    for sign, shape in _MASKS:
        if sign in text:
            text = shape.sub(MASK, text)
    return text

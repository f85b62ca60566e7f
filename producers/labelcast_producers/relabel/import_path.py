"""Loads objects that a user names on the command line, like ``package.module:Class.method``."""

import importlib
import json
from operator import attrgetter
from typing import Any

from labelcast.errors import InvalidRequestError


def load_object(path: str, arguments: str | None = None) -> Any:
    """Import what `path` names, and call it if it is a class or function.

    Args:
        path: "package.module:name"; the module must be importable, so install your package or set
            PYTHONPATH.
        arguments: JSON object of keyword arguments for the call.

    Raises:
        InvalidRequestError: the path or the arguments are wrong; says which part.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or module_name.startswith(".") or not attribute:
        raise InvalidRequestError(f"{path!r} must be package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidRequestError(
            f"cannot import {module_name!r}: {error}; install it or set PYTHONPATH"
        ) from None
    try:
        found = attrgetter(attribute)(module)
    except AttributeError:
        raise InvalidRequestError(f"{module_name!r} has no {attribute!r}") from None
    keywords = _keywords(arguments)
    # A finished torch module is callable too, but takes images; its class takes arguments.
    if not callable(found) or (hasattr(found, "state_dict") and not isinstance(found, type)):
        if keywords:
            raise InvalidRequestError(f"{path} is no function or class: it takes no arguments")
        return found
    try:
        return found(**keywords)
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"cannot call {path} with {keywords}: {error}") from None


def _keywords(arguments: str | None) -> dict[str, Any]:
    try:
        keywords = json.loads(arguments or "{}")
    except ValueError:
        keywords = None
    if not isinstance(keywords, dict):
        raise InvalidRequestError(f"arguments must be a JSON object, got {arguments!r}")
    return keywords

"""A name that the operating system finds several addresses for."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

NAME = "labels.test"
Leads = Callable[..., None]


def name_that_leads(monkeypatch: pytest.MonkeyPatch) -> Leads:
    """Give the IP addresses of `NAME`, by calling what this returns; no proxy is in the way."""
    known: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *more: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, port, *more, **options)
        return [found for each in known for found in real(each, port, *more, **options)]

    def leads(*addresses: str) -> None:
        known[:] = addresses

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    for variable in ("grpc_proxy", "https_proxy", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    return leads

"""A service of one's own on this machine, for demo and benchmarks."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelcast import LabelClient, Tls
from labelcast.errors import ServiceUnavailableError
from labelcast.registry.client import Registry
from labelcast_glyphs.certificates import Authority, options_of


@dataclass(frozen=True)
class LocalService:
    """Where it is found.

    Attributes:
        grpc: host:port for students.
        admin: URL for admins.
        token_file: holds the admin token.
        pid: of its first process, which started the others.
        tls: how it is checked; None if it speaks plain text.
    """

    grpc: str
    admin: str
    token_file: Path
    pid: int
    tls: Tls | None

    def client(self, **options: Any) -> LabelClient:
        """Client of its labels."""
        return LabelClient(self.grpc, tls=self.tls or False, **options)

    def registry(self) -> Registry:
        """Client of its admin API."""
        return Registry(self.admin, self.token_file.read_text().strip(), tls=self.tls)


@contextlib.contextmanager
def local_service(
    data_dir: Path, *, encrypted: bool = False, **settings: str
) -> Iterator[LocalService]:
    """Run `labelcast-server serve` on ports of its own choice for as long as the block lasts.

    Args:
        data_dir: for its Redis and its token.
        encrypted: whether it speaks TLS, with a certificate of an authority of its own.
        settings: further ones by name, such as max_streams="2000".

    Raises:
        ServiceUnavailableError: it did not start; its log on stderr says why.
    """
    command = [sys.executable, "-m", "labelcast_server.cli", "serve", "--json"]
    command += ["--grpc-port", "0", "--admin-port", "0", "--data-dir", str(data_dir)]
    tls = None
    if encrypted:
        directory = data_dir.with_name(f"{data_dir.name}-tls")
        directory.mkdir(parents=True, exist_ok=True)
        authority = Authority(directory)
        command += options_of(authority.issue("service"))
        tls = authority.trusted()
    given = {f"LABELCAST_{name.upper()}": value for name, value in settings.items()}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | given)
    try:
        line = process.stdout.readline() if process.stdout is not None else ""
        if not line:
            raise ServiceUnavailableError("the service did not start; its log is above")
        found = json.loads(line)
        token_file = Path(found["admin_token_file"])
        yield LocalService(found["grpc"], found["admin"], token_file, process.pid, tls)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()

"""The admin API as it runs: uvicorn on a loopback port, a real Redis behind it."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
from fastapi import FastAPI

from labelcast.identifiers import UploadId
from labelcast.registry.client import Registry
from labelcast_server.access.tokens import Tokens
from labelcast_server.admin import create_app, serve_admin
from labelcast_server.admin.patient_protocol import DEFAULT_PATIENCE, Patience
from labelcast_server.registry.admission import Admission
from labelcast_server.registry.services import RegistryServices
from labelcast_server.registry.uploads import Uploads
from labelcast_server.store.blob_store import BlobStore, Upload
from labelcast_server.store.open_store import open_store

ADMIN_TOKEN = "admin-token-of-tests"
READ_TOKEN = "read-token-of-tests"


class WatchedUploads(Uploads):
    """Tells when it has done with the body of a PATCH."""

    def __init__(self, blobs: BlobStore, admission: Admission) -> None:
        super().__init__(blobs, admission)
        self.received = threading.Event()

    async def receive(self, upload_id: UploadId, offset: int, body: AsyncIterator[bytes]) -> Upload:
        try:
            return await super().receive(upload_id, offset, body)
        finally:
            self.received.set()


class RunningAdmin:
    """One admin server; `running_admin` makes them."""

    def __init__(
        self,
        redis_url: str,
        *,
        allow_unsafe_store: bool,
        read_token: str | None,
        patience: Patience = DEFAULT_PATIENCE,
        port: int = 0,
    ) -> None:
        self._patience = patience
        self._redis_url = redis_url
        self._allow_unsafe_store = allow_unsafe_store
        self._tokens = Tokens(admin_token=ADMIN_TOKEN, read_token=read_token)
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self._up = threading.Event()
        self.app: FastAPI
        self.services: RegistryServices
        self.uploads: WatchedUploads
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def registry(self, token: str | None = ADMIN_TOKEN, **options: Any) -> Registry:
        return Registry(self.url, token, **options)

    def client(self, token: str | None = ADMIN_TOKEN) -> httpx.Client:
        """A client that knows nothing of the API."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=100)

    def start(self) -> None:
        self._thread.start()
        self._up.wait()

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self) -> None:
        store = open_store(self._redis_url, timeout_seconds=10)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        services = RegistryServices.over(store, allow_unsafe_store=self._allow_unsafe_store)
        self.uploads = WatchedUploads(store.blobs, services.admission)
        self.services = replace(services, uploads=self.uploads)
        self.app = create_app(self.services, self._tokens, ping=store.ping)
        self._up.set()
        try:
            await serve_admin(self.app, self._socket, stop=self._stop, patience=self._patience)
        finally:
            await store.close()


@contextmanager
def running_admin(
    redis_url: str,
    *,
    allow_unsafe_store: bool = False,
    read_token: str | None = READ_TOKEN,
    patience: Patience = DEFAULT_PATIENCE,
    port: int = 0,
) -> Iterator[RunningAdmin]:
    admin = RunningAdmin(
        redis_url,
        allow_unsafe_store=allow_unsafe_store,
        read_token=read_token,
        patience=patience,
        port=port,
    )
    admin.start()
    try:
        yield admin
    finally:
        admin.stop()

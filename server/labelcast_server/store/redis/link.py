"""How commands reach a Redis: connections, time limits, retries; it knows nothing of their meaning.

Rules:
  * a client of redis-py belongs to one event loop of one process: it is created on first use there;
  * every wait is bounded by `timeout_seconds`, and a command that timed out is not tried again, so
    no command takes much longer than one timeout for connecting and one for the answer;
  * only a `repeatable` command is retried, and only when the connection failed.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit
from weakref import WeakKeyDictionary

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, BusyLoadingError
from redis.exceptions import ConnectionError as RedisConnectionError

from labelcast.errors import InvalidRequestError, StoreUnavailableError
from labelcast_server.store.redis import scripts
from labelcast_server.store.redis.errors import translated
from labelcast_server.store.redis.health import Info

Command = Sequence[str | bytes | int | float]

_BACKOFF_SECONDS = (0.05, 0.2)
_MAX_CONNECTIONS = 16
_NOT_WORTH_RETRYING = (AuthenticationError, AuthorizationError, BusyLoadingError)

# Clients inherited from a parent process. Collecting one here would unregister its sockets from an
# epoll object that the parent still uses, so a forked child keeps them forever.
_inherited: list[object] = []


class RedisLink:
    """Sends commands to one Redis.

    Args:
        url: redis://, rediss:// or unix://.
        timeout_seconds: time limit for connecting, and for each answer.

    Raises:
        InvalidRequestError: the URL is malformed; the message does not repeat it.
    """

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self.address = _address(url)
        self.timeout_seconds = timeout_seconds
        self._url = url
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Redis] = WeakKeyDictionary()
        self._pid = os.getpid()
        self._closed = False
        self._new_pool()

    async def command(self, *words: str | bytes | int | float, repeatable: bool = False) -> Any:
        """Send one command and return its reply, parsed by redis-py."""
        (reply,) = await self.pipeline([words], repeatable=repeatable)
        return reply

    async def pipeline(
        self, commands: Iterable[Command], *, repeatable: bool = False, together: bool = False
    ) -> list[Any]:
        """Send commands in one go, on one connection and in order.

        Args:
            commands: their replies come back in the same order.
            repeatable: whether they may be sent again if the connection fails.
            together: wrap them in one MULTI, which Redis syncs to its disk once instead of once a
                command; their keys must share one hash slot.

        Raises:
            StorageError: one of its subclasses; the commands may or may not have been carried out.
        """
        batch = list(commands)
        with translated(self.address):
            for pause in _BACKOFF_SECONDS if repeatable else ():
                try:
                    return await self._send(batch, together)
                except _NOT_WORTH_RETRYING:
                    raise
                except RedisConnectionError:
                    await asyncio.sleep(pause)
            return await self._send(batch, together)

    async def script(
        self, script: str, keys: Sequence[str], arguments: Sequence[str | bytes]
    ) -> object:
        """Run a script of `labelcast_server.store.redis.scripts`."""
        return await self.command(*scripts.call(script, keys, arguments))

    async def hash_fields(self, key: str) -> dict[str, bytes]:
        """Read a whole hash; empty if there is no such key."""
        fields: dict[bytes, bytes] = await self.command("HGETALL", key, repeatable=True)
        return {name.decode(): value for name, value in fields.items()}

    async def messages(self, channel: str) -> AsyncGenerator[bytes | None, None]:
        """What is published on a channel; None first, once nothing published is missed.

        Raises:
            StorageError: the connection broke, or may not subscribe.
        """
        with translated(self.address):
            async with self._client().pubsub() as subscription:
                await subscription.subscribe(channel)
                while True:
                    message = await subscription.get_message(timeout=self.timeout_seconds)
                    if message is not None:
                        yield None if message["type"] == "subscribe" else message["data"]

    async def info(self) -> Info:
        """What Redis reports about itself."""
        info: Info = await self.command("INFO", repeatable=True)
        return info

    async def ping(self) -> None:
        """Return if Redis answers and takes requests."""
        await self.command("PING", repeatable=True)

    async def close(self) -> None:
        """Close the connections of this event loop; the link is unusable afterwards."""
        self._closed = True
        if self._pid == os.getpid():
            client = self._clients.pop(asyncio.get_running_loop(), None)
            if client is not None:
                await client.aclose(close_connection_pool=True)

    async def _send(self, batch: list[Command], together: bool) -> list[Any]:
        pipe = self._client().pipeline(transaction=together)
        for words in batch:
            pipe.execute_command(*words)
        # redis-py would write the command, chunk and all, into the message of the error.
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def _client(self) -> "Redis":
        if self._closed:
            raise StoreUnavailableError("the store is closed")
        if self._pid != os.getpid():
            _inherited.append(self._clients)
            self._clients = WeakKeyDictionary()
            self._pid = os.getpid()
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = Redis.from_pool(self._new_pool())
        return client

    def _new_pool(self) -> BlockingConnectionPool:
        try:
            pool = BlockingConnectionPool.from_url(
                self._url,
                max_connections=_MAX_CONNECTIONS,
                timeout=self.timeout_seconds,
                socket_timeout=self.timeout_seconds,
                socket_connect_timeout=self.timeout_seconds,
                # redis-py would retry any command, even one that must not be sent twice.
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
            # Options in the URL's query are checked only when a connection is made.
            pool.make_connection()  # type: ignore[no-untyped-call]
            return pool
        except (ValueError, TypeError):
            raise _bad_url() from None


def _address(url: str) -> str:
    """The part of a URL that may be shown: host and port, or the path of the socket."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix" and parts.path:
            return unquote(parts.path)
        if parts.scheme in ("redis", "rediss"):
            host = parts.hostname or "localhost"
            return f"{f'[{host}]' if ':' in host else host}:{parts.port or 6379}"
    except ValueError:
        pass
    raise _bad_url()


def _bad_url() -> InvalidRequestError:
    return InvalidRequestError(
        "a store URL reads redis://[user:password@]host:port/0, rediss://... or unix:///path/to/socket"
    )

"""From a store URL to a store."""

from urllib.parse import urlsplit

from labelcast.errors import InvalidRequestError
from labelcast_server.store.disk import Disk
from labelcast_server.store.memory import memory_store
from labelcast_server.store.redis.blob_store import RedisBlobs
from labelcast_server.store.redis.catalog import RedisCatalog
from labelcast_server.store.redis.disk import RedisDisk
from labelcast_server.store.redis.link import RedisLink
from labelcast_server.store.store import Store

DEFAULT_TIMEOUT_SECONDS = 10.0


def open_store(
    url: str, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, disk: Disk | None = None
) -> Store:
    """Open the store at `url`; nothing connects before its first use.

    Args:
        url: redis://, rediss:// or unix:///path/to/socket; memory:// for tests only, because it
            loses everything and each call opens another one.
        timeout_seconds: time limit for connecting, and for each answer.
        disk: disk that an embedded Redis writes to, if this process writes.

    Raises:
        InvalidRequestError: the URL is malformed; the message does not repeat it.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise InvalidRequestError("the store URL is malformed") from None
    if scheme == "memory":
        return memory_store()
    link, watched = RedisLink(url, timeout_seconds=timeout_seconds), RedisDisk(disk)
    return Store(RedisBlobs(link, watched), RedisCatalog(link, watched), link)

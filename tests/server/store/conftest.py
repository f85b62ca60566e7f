"""Every store, empty, for the suites that all of them pass."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
from redis import Redis

from labelcast_server.store.blob_store import BlobStore
from labelcast_server.store.catalog import Catalog
from labelcast_server.store.embedded.process import EmbeddedRedis
from labelcast_server.store.open_store import open_store
from labelcast_server.store.store import Store
from tests.factories.real_redis import RealRedis, running_redis


@pytest.fixture(scope="session")
def embedded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("embedded")) as embedded:
        yield embedded


@pytest.fixture
def embedded_url(embedded_redis: EmbeddedRedis) -> str:
    with Redis.from_url(embedded_redis.url) as client:
        client.flushall()
    return embedded_redis.url


@pytest.fixture(scope="session")
def given_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """The redis-server on PATH, 6.2 or later, which a service may be given."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server on PATH")
    with running_redis(tmp_path_factory.mktemp("given"), program=program) as redis:
        yield redis


@pytest.fixture
def given_url(given_redis: RealRedis) -> str:
    with given_redis.client() as client:
        client.flushall()
    return given_redis.url


@pytest.fixture(params=["memory", "redis", "given", "embedded"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    store = open_store(_url(request))
    yield store
    await store.close()


@pytest.fixture
def blobs(store: Store) -> BlobStore:
    return store.blobs


@pytest.fixture
def catalog(store: Store) -> Catalog:
    return store.catalog


@pytest.fixture
async def redis_store(redis_url: str) -> AsyncIterator[Store]:
    store = open_store(redis_url)
    yield store
    await store.close()


@pytest.fixture
def loop_runner() -> Iterator[asyncio.Runner]:
    """Event loop for tests by hypothesis, which cannot await."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=["memory", "redis", "given", "embedded"])
def any_blobs(request: pytest.FixtureRequest, loop_runner: asyncio.Runner) -> Iterator[BlobStore]:
    """`blobs`, for `loop_runner`."""
    store = open_store(_url(request))
    yield store.blobs
    loop_runner.run(store.close())


def _url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory":
        return "memory://"
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url

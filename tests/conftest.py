"""Fixtures that any test may ask for."""

import os
from collections.abc import Iterator

import hypothesis
import pytest

from tests.factories.real_redis import RealRedis, running_redis
from tests.factories.recording_proxy import PROXY_VARIABLES

# Many a test asks its server with a foreign client, which would ask the machine's proxy for it.
for _name in PROXY_VARIABLES:
    os.environ.pop(_name, None)

# A busy machine may be ten times slower than a quiet one: that an example is slow proves nothing.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """A real Redis, shared by the session; use `redis_url` unless you need its process."""
    with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture
def redis_url(redis_server: RealRedis) -> str:
    """URL of a real, safe and empty Redis."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url

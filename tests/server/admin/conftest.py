"""An admin server and clients for it."""

from collections.abc import Iterator

import httpx
import pytest

from labelcast.registry.client import Registry
from tests.factories.real_redis import RealRedis
from tests.server.admin.running_admin import RunningAdmin, running_admin


@pytest.fixture(scope="session")
def admin_over_the_session(redis_server: RealRedis) -> Iterator[RunningAdmin]:
    """One server for all tests: starting and stopping one takes longer than most tests."""
    with running_admin(redis_server.url) as running:
        yield running


@pytest.fixture
def admin(redis_url: str, admin_over_the_session: RunningAdmin) -> RunningAdmin:
    """The admin API over an empty Redis."""
    admin_over_the_session.uploads.received.clear()
    return admin_over_the_session


@pytest.fixture
def registry(admin: RunningAdmin) -> Iterator[Registry]:
    """The library's client with the admin token."""
    with admin.registry() as made:
        yield made


@pytest.fixture
def http(admin: RunningAdmin) -> Iterator[httpx.Client]:
    """A plain HTTP client with the admin token."""
    with admin.client() as made:
        yield made

"""What tests of the cache read from."""

import pytest

from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.pushed import push
from tests.server.delivery.cache.counting_blobs import CountingBlobs


@pytest.fixture
async def blobs(label_set: LabelSetDirectory) -> CountingBlobs:
    """The store of the `label_set` that a file of tests makes."""
    blobs = CountingBlobs()
    await push(blobs.store, label_set, stage=False)
    return blobs

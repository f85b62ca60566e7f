"""What tests of the cache read from; a file of tests may have a `label_set` of its own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.label_set import Section
from labelcast.label_set_directory import LabelSetDirectory
from tests.factories.label_sets import make_label_set
from tests.factories.pushed import push
from tests.server.delivery.cache.counting_blobs import CountingBlobs
from tests.server.delivery.cache.one_shard import ROWS


@pytest.fixture(scope="module")
def label_set(tmp_path_factory: pytest.TempPathFactory) -> LabelSetDirectory:
    made, _ = make_label_set(tmp_path_factory.mktemp("label-set"), num_samples=8000, num_seeds=3)
    return made


@pytest.fixture
def codes(label_set: LabelSetDirectory) -> Section:
    section = label_set.manifest.segments[0].codes
    assert len(section.shards) == 1
    assert section.rows_per_chunk * 3 < section.rows == ROWS
    return section


@pytest.fixture
def array(label_set: LabelSetDirectory, codes: Section) -> NDArray[np.uint8]:
    content = label_set.read_blob(codes.shards[0].data)
    return np.frombuffer(content, np.uint8).reshape(ROWS, -1)


@pytest.fixture
async def blobs(label_set: LabelSetDirectory) -> CountingBlobs:
    """The store of the `label_set` of a file of tests."""
    blobs = CountingBlobs()
    await push(blobs.store, label_set, stage=False)
    return blobs

"""What was used here works in a worker that was started anew, with a channel of its own."""

import asyncio
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import AsyncLabelClient, LabelClient, LabelReader, LabelSet, Representation, Views
from labelcast.torch import ImageFolder, LabelSetSource, SoftLabelLoader
from tests.e2e.label_sets import KnownLabelSet
from tests.e2e.running_service import RunningService
from tests.e2e.test_same_images import SEEDS, labelled
from tests.factories import folders

pytestmark = pytest.mark.e2e

CODES = Representation.codes()
VIEWS = Views.of([10**12 + 7, 10**12], [3, 0])
SET = "vqae-context"
Arrays = list[NDArray[Any]]


def of_client(client: LabelClient) -> Arrays:
    return [client.labels(client.open(SET), VIEWS, CODES).rows]


def of_async_client(client: AsyncLabelClient) -> Arrays:
    async def ask() -> Arrays:
        async with client:
            return [(await client.labels(await client.open(SET), VIEWS, CODES)).rows]

    return asyncio.run(ask())


def of_label_set(label_set: LabelSet) -> Arrays:
    return [label_set.labels(VIEWS.sample_ids, VIEWS.seeds)]


def of_reader(reader: LabelReader) -> Arrays:
    return [reader(VIEWS).numpy()]


def of_source(source: LabelSetSource) -> Arrays:
    return [labels.numpy() for labels in source.labels([VIEWS, VIEWS[:1]])]


def of_loader(loader: SoftLabelLoader) -> Arrays:
    return [part.numpy() for batch in loader for part in (batch.images, batch.labels)]


Traveller = tuple[Callable[[Any], Arrays], Any]


@pytest.fixture
def travellers(
    service: RunningService,
    client: LabelClient,
    label_sets: dict[str, KnownLabelSet],
    tmp_path: Path,
) -> list[Traveller]:
    folder = folders.write_digits(tmp_path / "digits", per_class=2)
    service.push(labelled(tmp_path / "labels", folder), "travelling")
    label_set = client.open(SET)
    digits = LabelSetSource(client.open("travelling"), CODES)
    return [
        (of_client, client),
        (of_async_client, service.async_client()),
        (of_label_set, label_set),
        (of_reader, label_set.reader(policy=label_set.contract.policy, device="cpu")),
        (of_source, LabelSetSource(label_set, CODES)),
        (of_loader, SoftLabelLoader(ImageFolder(folder), digits, seeds=range(SEEDS), batch_size=7)),
    ]


def test_what_was_used_here_gives_the_same_elsewhere(travellers: list[Traveller]) -> None:
    here = [read(traveller) for read, traveller in travellers]
    with get_context("spawn").Pool(1) as pool:
        there = [pool.apply(read, (traveller,)) for read, traveller in travellers]
        pool.close()
        pool.join()
    for (read, _), mine, theirs in zip(travellers, here, there, strict=True):
        assert len(mine) == len(theirs) > 0, read
        for one, other in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=read.__name__)

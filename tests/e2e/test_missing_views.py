"""Label sets that lack views: what students ask for instead, over the wire."""

import asyncio
from pathlib import Path

import grpc
import numpy as np
import pytest

from labelcast import AsyncLabelClient, AsyncRemoteLabelSet, MissingViews, Representation, Views
from labelcast.augmentation import AugmentationPolicy
from labelcast.codec import LabelKind
from labelcast.errors import ContractMismatchError, ViewNotFoundError
from labelcast.label_set import RowOrder, class_list_digest, digest_of, index_of_cells
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import LabelSetSource, SampleTable, SoftLabelLoader
from labelcast.v2 import labels_pb2 as pb
from labelcast.v2 import labels_pb2_grpc
from labelcast.wire import views_to_proto
from labelcast_producers.dense.labels import DenseLabels, Description
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from tests.e2e.running_service import RunningService
from tests.factories.in_memory import InMemory
from tests.factories.pictures import CLASSES, Pictures

pytestmark = pytest.mark.e2e

LOGITS = Representation.logits()
SEEDS = 6
OTHER = AugmentationPolicy(view_height=6, view_width=6)


@pytest.fixture(scope="module")
def table() -> SampleTable:
    return SampleTable(Pictures())


@pytest.fixture(scope="module")
def pruned(
    service: RunningService, table: SampleTable, tmp_path_factory: pytest.TempPathFactory
) -> LabelSetDirectory:
    """Every fifth view is missing; the label of a view says whose it is."""
    cells = np.arange(SEEDS * len(table))
    index = index_of_cells(
        table.sample_ids,
        np.arange(SEEDS, dtype=np.uint32),
        RowOrder.SEED_MAJOR,
        cells[cells % 5 != 0],
    )
    values = np.zeros((index.num_rows, len(CLASSES)), np.float16)
    views = index.views()
    values[:, 0] = np.searchsorted(table.sample_ids, views.sample_ids)
    values[:, 1] = views.seeds
    dense = DenseLabels(
        description=Description(
            teacher=digest_of(b"teacher"),
            teacher_name="teacher",
            dataset=table.digest(),
            num_classes=len(CLASSES),
            class_list=class_list_digest(CLASSES),
            policy=None,
            label_kind=LabelKind.LOGITS,
            temperature=None,
        ),
        index=index,
        hard_labels=table.hard_labels(),
        rows=InMemory(values),
        fingerprints=table.fingerprints(),
    )
    encoder = choose_encoder("raw:fp16", dense.description, temperature=1.0, device="cpu").encoder
    on_disk = write_label_set(dense, encoder, Path(tmp_path_factory.mktemp("pruned")))
    service.push(on_disk, "pruned")
    return on_disk


def test_missing_views_are_refused_dropped_or_drawn(
    service: RunningService, pruned: LabelSetDirectory, table: SampleTable
) -> None:
    every = Views(
        np.tile(table.sample_ids, SEEDS), np.repeat(np.arange(SEEDS, dtype=np.uint32), len(table))
    )
    held = pruned.index().holds(every)
    with service.client() as client:
        label_set = client.open("pruned")
        for ask in (
            lambda: client.labels(label_set, every, LOGITS),
            lambda: client.resolve(label_set, every, MissingViews.REFUSE),
        ):
            with pytest.raises(ViewNotFoundError, match="no augmentation seed"):
                ask()
        kept, rows = client.resolve(label_set, every, MissingViews.DROP)
        np.testing.assert_array_equal(rows, np.flatnonzero(held))
        drawn, rows = client.resolve(label_set, every, MissingViews.DRAW)
        np.testing.assert_array_equal(rows, np.arange(len(every)))
        np.testing.assert_array_equal(drawn.seeds[held], every.seeds[held])
        for views in (kept, drawn):
            values = client.labels(label_set, views, LOGITS).values
            np.testing.assert_array_equal(values[:, 1], views.seeds)
            position = np.searchsorted(table.sample_ids, views.sample_ids)
            np.testing.assert_array_equal(values[:, 0], position)
        with pytest.raises(ViewNotFoundError, match="no view of sample ID 7"):
            client.resolve(label_set, Views.of([7], 0), MissingViews.DRAW_ALL)


def test_both_clients_and_both_ends_draw_alike(
    service: RunningService, pruned: LabelSetDirectory, table: SampleTable
) -> None:
    asked = Views.of(table.sample_ids, 12345)

    async def ask() -> tuple[AsyncRemoteLabelSet, Views, bool]:
        async with service.async_client() as client:
            assert isinstance(client, AsyncLabelClient)
            label_set = await client.open("pruned")
            drawn, _ = await client.resolve(label_set, asked, MissingViews.DRAW_ALL)
            index = await label_set.index()
            return label_set, drawn, bool(index.holds(drawn).all())

    label_set, there, held = asyncio.run(ask())
    assert held
    with service.client() as client:
        here, _ = client.resolve(label_set, asked, MissingViews.DRAW_ALL)
        locally, _ = LabelSetSource(pruned, LOGITS).stored_views.resolve(
            asked, MissingViews.DRAW_ALL
        )
    np.testing.assert_array_equal(here.seeds, there.seeds)
    np.testing.assert_array_equal(here.seeds, locally.seeds)


def test_a_student_draws_stored_views(service: RunningService, pruned: LabelSetDirectory) -> None:
    pictures = Pictures()
    with service.client() as client:
        source = LabelSetSource(client.open("pruned"), LOGITS)
        loader = SoftLabelLoader(
            pictures,
            source,
            policy=None,
            seeds=range(20),
            batch_size=5,
            missing=MissingViews.DRAW_ALL,
            canary=None,
        )
        with pytest.raises(ContractMismatchError) as caught:
            SoftLabelLoader(pictures, source, policy=OTHER, seeds=[0], batch_size=5)
        assert caught.value.facts["field"] == "augmentation"
        batches = list(loader)
        assert len(batches) == len(loader) == 20 * 3
        for batch in batches:
            np.testing.assert_array_equal(batch.labels[:, 1], batch.views.seeds)
        seen = {int(seed) for batch in batches for seed in batch.views.seeds}
        assert seen == set(range(SEEDS))
        dropping = SoftLabelLoader(
            pictures,
            source,
            policy=None,
            seeds=range(SEEDS),
            batch_size=5,
            missing=MissingViews.DROP,
            canary=None,
        )
        views = [batch.views for batch in dropping]
        assert sum(map(len, views)) == pruned.manifest.num_labels
        assert len(views) == len(dropping)


@pytest.mark.parametrize(
    "change",
    [
        {"missing": pb.MISSING_UNSPECIFIED},
        {"missing": 99},
        {"views": pb.Views()},
        {"label_set": "pruned"},
    ],
    ids=["no policy", "unknown policy", "no views", "a tag"],
)
def test_malformed_requests_are_refused(
    service: RunningService,
    pruned: LabelSetDirectory,
    table: SampleTable,
    change: dict[str, object],
) -> None:
    request = pb.ResolveViewsRequest(
        label_set=pruned.digest,
        views=views_to_proto(Views.of(table.sample_ids, 0)),
        missing=pb.MISSING_DRAW,
    )
    for name in change:
        request.ClearField(name)
    request.MergeFrom(pb.ResolveViewsRequest(**change))  # type: ignore[arg-type]
    with grpc.insecure_channel(service.grpc) as channel:
        stub = labels_pb2_grpc.LabelServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ResolveViews(request, timeout=100)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

"""A student on the other side of the service: labels over gRPC, views from the label set."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from benchmarks.systems.plan import planned_views
from benchmarks.systems.settings import TEMPERATURE, Scale, System
from labelcast import Expectation, LabelClient, Representation
from labelcast.torch import LabelSetSource, SampleTable
from labelcast.torch.data.prefetch import Prefetch
from labelcast.torch.images.image_folder import ImageFolder
from labelcast.torch.images.rendering import choose_renderer

_KEEP_IMAGE_BYTES = 2**30
_READ_AHEAD = 8


def served_batches(
    system: System,
    scale: Scale,
    seed: int,
    *,
    client: LabelClient,
    tag: str,
    images: Path,
    representation: Representation,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Views and logits of every step, as the service delivers them.

    Args:
        system: of the label set.
        scale: of the run.
        seed: of the student.
        client: of the service.
        tag: of the label set.
        images: the image folder.
        representation: codes, which are decoded here, or logits.

    Raises:
        LabelcastError: labels could not be had, or are not those of these images.
    """
    label_set = client.open(tag)
    prints = label_set.fingerprints()
    # Commands read folders as RGB, so that is whose digest the contract has; pixels are grey.
    known = SampleTable(ImageFolder(images))
    expect = Expectation(
        # Pruned sets are of the samples that kept a view.
        dataset=known.digest(None if prints is None else prints.sample_ids),
        class_list=known.class_list(),
        temperature=TEMPERATURE,
    )
    label_set.manifest.require(expect)
    source = LabelSetSource(label_set, representation)
    table = SampleTable(ImageFolder(images, channels=1))
    read = table.reader(keep_bytes=_KEEP_IMAGE_BYTES)
    renderer = choose_renderer(label_set.contract.policy, table.sample_ids, source.view_records)
    plan = planned_views(system, scale, seed)
    with Prefetch(source.labels(iter(plan)), _READ_AHEAD) as labels:
        for views, soft in zip(plan, labels, strict=True):
            partners = renderer.partners(views)
            mixed = None if partners is views else read(partners.sample_ids)
            yield renderer.render(views, read(views.sample_ids), mixed), soft

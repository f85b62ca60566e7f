"""Federated sites: each trains on its own images, and knows the fingerprints of no others'."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast import UNCHECKED, AsyncLabelClient, LabelSet, Representation
from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.errors import (
    BlobNotFoundError,
    DifferentImageError,
    DigestMismatchError,
    InvalidRequestError,
    ManifestError,
    MisalignedLabelsError,
)
from labelcast.label_set.fingerprints import SITES_PART, SampleFingerprints
from labelcast.label_set_directory import LabelSetDirectory, LabelSetDirectoryWriter
from labelcast.torch import Batch, ImageFolder, LabelSetSource, SampleTable, SoftLabelLoader
from labelcast_producers.dense.labels import DenseLabels
from labelcast_producers.encoding.add_stage import add_stage
from labelcast_producers.encoding.federate import federate
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from labelcast_producers.relabel.relabeller import relabel
from tests.e2e.running_service import RunningService
from tests.factories import folders
from tests.factories.command import run_labelcast

pytestmark = pytest.mark.e2e

POLICY = AugmentationPolicy(view_height=16, view_width=16, crop_scale=(0.8, 1.0))
SEEDS = 2
SITES = ("north", "south")


@dataclass(frozen=True)
class Federation:
    """A label set for two sites, as their service has it.

    Attributes:
        whole: label set that it was made from.
        published: label set of the service.
        folders: each site's images.
        files: each site's fingerprints.
    """

    whole: LabelSetDirectory
    published: LabelSet
    folders: dict[str, Path]
    files: dict[str, Path]

    def images(self, site: str) -> ImageFolder:
        return ImageFolder(self.folders[site], ids="name")


def labelled(directory: Path, folder: Path) -> LabelSetDirectory:
    table = SampleTable(ImageFolder(folder, ids="name"))
    teacher = folders.NearestMean()
    out = directory / "dense"
    relabel(teacher, table, POLICY, seeds=SEEDS, out=out, teacher_name="mean", device="cpu")
    dense = DenseLabels.open(out)
    encoder = choose_encoder("raw:fp16", dense.description, temperature=1.0, device="cpu").encoder
    return write_label_set(dense, encoder, directory / "set")


@pytest.fixture(scope="module")
def federation(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    root = tmp_path_factory.mktemp("federation")
    whole = labelled(root, folders.write_digits(root / "all"))
    words = []
    for number, site in enumerate(SITES):
        shutil.copytree(root / "all", root / site)
        for path in root.glob(f"{site}/*/*.png"):
            if int(path.stem) % 2 != number:
                path.unlink()
        ids = ImageFolder(root / site, ids="name").sample_ids
        (root / f"{site}.txt").write_text("\n".join(map(str, ids.tolist())))
        words += ["--site", f"{site}={root / site}.txt"]
    made = run_labelcast("federate", str(root / "set"), *words, "--out", str(root / "out"))
    assert made.returncode == 0, made.stderr
    published = LabelSetDirectory(root / "out" / "label-set")
    assert published.digest in made.stdout
    service.push(published, "federated")
    with service.client() as client:
        yield Federation(
            whole,
            client.open("federated"),
            {site: root / site for site in SITES},
            {site: root / "out" / f"{site}.fingerprints" for site in SITES},
        )


def train(
    label_set: LabelSet,
    images: ImageFolder,
    own: SampleFingerprints,
    sample_ids: NDArray[np.uint64] | None,
) -> list[Batch]:
    source = LabelSetSource(label_set, Representation.codes())
    options = {"seeds": range(SEEDS), "batch_size": 8, "sample_ids": sample_ids}
    return list(SoftLabelLoader(images, source, fingerprints=own, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("site", SITES)
def test_a_site_trains_on_its_own_samples_alone(federation: Federation, site: str) -> None:
    label_set, images = federation.published, federation.images(site)
    own = label_set.fingerprints_from(federation.files[site])
    np.testing.assert_array_equal(own.sample_ids, np.sort(images.sample_ids))
    # What a site is given, it could have computed from its own images: nothing of another's.
    assert federation.files[site].read_bytes() == SampleTable(images).fingerprints().to_bytes()
    batches = train(label_set, images, own, own.sample_ids)
    seen = [(int(i), int(s)) for b in batches for i, s in zip(b.views.sample_ids, b.views.seeds)]  # noqa: B905
    assert sorted(seen) == [(i, s) for i in own.sample_ids.tolist() for s in range(SEEDS)]
    for batch in batches:
        said = federation.whole.labels(batch.views.sample_ids, batch.views.seeds)
        np.testing.assert_array_equal(batch.labels.numpy(), said)


def test_the_service_has_nobodys_fingerprints(federation: Federation) -> None:
    whole, published = federation.whole.manifest, federation.published
    prints = {
        ref.digest: ref
        for segment in whole.segments
        for section in segment.fingerprints().values()
        for ref in section.blobs()
    }
    assert prints
    assert not prints.keys() & published.manifest.blobs().keys()
    for ref in prints.values():
        with pytest.raises(BlobNotFoundError):
            published.read_blob(ref)
    # Nor thumbnails of anybody's images.
    assert whole.has_control_views
    assert not published.manifest.has_control_views
    # It is of the same data set all the same, and of the same labels.
    assert published.contract == whole.contract
    shown = run_labelcast("info", str(federation.whole.directory.parent / "out" / "label-set"))
    assert "with its sites" in shown.stdout


def test_an_image_that_differs_is_refused_at_its_site(
    federation: Federation, tmp_path: Path
) -> None:
    folder = tmp_path / "north"
    shutil.copytree(federation.folders["north"], folder)
    shutil.copyfile(folder / "5" / "00.png", folder / "4" / "02.png")
    own = federation.published.fingerprints_from(federation.files["north"])
    with pytest.raises(DifferentImageError, match=r"4/02\.png"):
        train(federation.published, ImageFolder(folder, ids="name"), own, own.sample_ids)


def test_a_check_that_is_absent_does_not_pass(federation: Federation, tmp_path: Path) -> None:
    label_set, images = federation.published, federation.images("north")
    source = LabelSetSource(label_set, Representation.codes())
    options = {"seeds": range(SEEDS), "batch_size": 8, "sample_ids": images.sample_ids}
    with pytest.raises(InvalidRequestError, match=r"give fingerprints=label_set.fingerprints_from"):
        SoftLabelLoader(images, source, **options)  # type: ignore[arg-type]
    assert SoftLabelLoader(images, source, fingerprints=UNCHECKED, **options)  # type: ignore[arg-type]
    own = label_set.fingerprints_from(federation.files["north"])
    part = own.only(own.sample_ids[1:])
    with pytest.raises(MisalignedLabelsError, match=r"with sample_ids=fingerprints\.sample_ids"):
        train(label_set, images, part, own.sample_ids)
    assert train(label_set, images, part, part.sample_ids)
    # The rest of the labels are refused as for any part that is not named.
    with pytest.raises(MisalignedLabelsError, match="name a part that is meant"):
        train(label_set, images, own, None)
    stranger = federation.published.fingerprints_from(federation.files["south"])
    with pytest.raises(MisalignedLabelsError, match="the fingerprints given lack sample ID"):
        train(label_set, images, stranger, own.sample_ids)
    damaged = tmp_path / "north.fingerprints"
    content = bytearray(federation.files["north"].read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    with pytest.raises(DigestMismatchError, match="fetch it again from who made the label set"):
        label_set.fingerprints_from(damaged)
    with pytest.raises(InvalidRequestError, match=r"use label_set.fingerprints\(\), which has"):
        federation.whole.fingerprints_from(federation.files["north"])


def test_a_file_of_a_site_that_cannot_be_read_is_named(
    federation: Federation, tmp_path: Path
) -> None:
    for missing in (tmp_path / "none", tmp_path):
        with pytest.raises(
            InvalidRequestError,
            match=r"cannot be read .*; give the file that labelcast federate wrote for this site",
        ):
            federation.published.fingerprints_from(missing)
    # What the advice says works.
    assert len(federation.published.fingerprints_from(federation.files["north"]).sample_ids)


def test_the_asynchronous_client_reads_a_sites_file_too(
    service: RunningService, federation: Federation
) -> None:
    async def read() -> tuple[SampleFingerprints, str]:
        async with AsyncLabelClient(service.grpc) as client:
            label_set = await client.open("federated")
            with pytest.raises(InvalidRequestError, match="are with its sites") as refused:
                await label_set.fingerprints()
            return await label_set.fingerprints_from(federation.files["south"]), str(refused.value)

    own, _ = asyncio.run(read())
    images = federation.images("south")
    np.testing.assert_array_equal(own.sample_ids, np.sort(images.sample_ids))


def test_what_cannot_be_federated_is_refused(federation: Federation, tmp_path: Path) -> None:
    whole, ids = federation.whole, federation.images("north").sample_ids
    with pytest.raises(InvalidRequestError, match="name at least one site, with --site NAME=FILE"):
        federate(whole, {}, tmp_path)
    with pytest.raises(InvalidRequestError, match="use up to 64 of A-Z a-z 0-9 _ -"):
        federate(whole, {"../north": ids}, tmp_path)
    for wrong in (np.array([1], np.uint64), ids[:0]):
        with pytest.raises(InvalidRequestError, match="give IDs of the label set's samples"):
            federate(whole, {"north": wrong}, tmp_path)
    mixed = replace(whole.contract, policy=replace(POLICY, mix=Mix.CUTMIX))
    changed = tmp_path / "mixed"
    shutil.copytree(whole.directory, changed)
    (changed / "manifest.json").write_bytes(replace(whole.manifest, contract=mixed).to_bytes())
    with pytest.raises(ManifestError, match='make labels with "mix": "none"'):
        federate(LabelSetDirectory(changed), {"north": ids}, tmp_path / "out")
    bare = add_stage(None, whole, tmp_path / "bare", name="bare", keep_fingerprints=False)
    with pytest.raises(ManifestError, match="fingerprints to give to sites; make it from images"):
        federate(bare, {"north": ids}, tmp_path / "out")


def test_the_command_reads_sample_ids_from_text(federation: Federation, tmp_path: Path) -> None:
    directory, text = str(federation.whole.directory), tmp_path / "ids.txt"
    text.write_text("\n".join(map(str, federation.images("north").sample_ids.tolist())))
    words = "federate", directory, "--out", str(tmp_path / "out"), "--json"
    made = run_labelcast(*words, "--site", f"a={text}")
    (file,) = json.loads(made.stdout)["files"]
    assert Path(file).read_bytes() == federation.files["north"].read_bytes()
    for given in (f"a={tmp_path / 'none'}", "a", f"a={Path(file)}"):
        refused = run_labelcast(*words, "--site", given)
        assert "give NAME=FILE, with a text file of sample IDs" in " ".join(refused.stderr.split())
    refused = run_labelcast(*words, "--site", f"a={text}", "--site", f"a={text}")
    assert "is named twice; give each once" in refused.stderr


def test_the_service_takes_no_label_set_that_says_nonsense_of_its_sites(
    service: RunningService, federation: Federation, tmp_path: Path
) -> None:
    copy = tmp_path / "label-set"
    shutil.copytree(federation.whole.directory.parent / "out" / "label-set", copy)
    manifest = LabelSetDirectory(copy).manifest
    wrong = LabelSetDirectoryWriter(copy).add_blob(b'{"digests":[]}')
    parts = tuple((name, wrong if name == SITES_PART else ref) for name, ref in manifest.parts)
    (copy / "manifest.json").write_bytes(replace(manifest, parts=parts).to_bytes())
    with pytest.raises(ManifestError, match="site_fingerprints"):
        service.push(LabelSetDirectory(copy), "federated:wrong")

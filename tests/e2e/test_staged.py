"""Staged label sets: the next stage shares the earlier ones, and students train stage by stage."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelcast import Representation
from labelcast.augmentation import AugmentationPolicy, Mix
from labelcast.codec import LabelKind
from labelcast.errors import InvalidRequestError, ManifestError
from labelcast.label_set import (
    GridIndex,
    RowOrder,
    SampleOrder,
    Stage,
    class_list_digest,
    digest_of,
)
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch import ImageFolder, SampleTable
from labelcast_producers.dense.labels import DenseLabels, Description
from labelcast_producers.encoding.add_stage import add_stage
from labelcast_producers.encoding.label_set_writer import write_label_set
from labelcast_producers.neural.chosen_encoder import choose_encoder
from tests.e2e.running_service import RunningService, clean_environment
from tests.factories.command import run_labelcast
from tests.factories.in_memory import InMemory

pytestmark = pytest.mark.e2e

CLASSES = ["ash", "birch", "cedar", "date"]
POLICY = AugmentationPolicy(view_height=16, view_width=16, crop_scale=(0.5, 1.0))
EPOCHS = 2
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for number in range(4):
            ramp = np.linspace(0, 200, 16)[:, None, None] + rng.integers(0, 55, (1, 16, 3))
            Image.fromarray(ramp.astype(np.uint8)).save(root / name / f"{number}.png")
    return root


def stage_of(
    directory: Path,
    images: Path,
    sample_ids: list[int],
    policy: AugmentationPolicy = POLICY,
    *,
    channels: int = 3,
    seeds: range = range(3),
) -> LabelSetDirectory:
    """A label set of some samples, as a relabeller of these alone would make it."""
    rng = np.random.default_rng(sample_ids)
    table = SampleTable(ImageFolder(images, channels=channels))
    ids = np.array(sample_ids, np.uint64)
    dense = DenseLabels(
        description=Description(
            teacher=digest_of(b"teacher"),
            teacher_name="teacher",
            dataset=table.digest(),
            num_classes=len(CLASSES),
            class_list=class_list_digest(CLASSES),
            policy=policy,
            label_kind=LabelKind.LOGITS,
            temperature=None,
        ),
        index=GridIndex(ids, np.array(seeds, np.uint32), RowOrder.SEED_MAJOR),
        hard_labels=table.hard_labels()[sample_ids],
        rows=InMemory(rng.normal(size=(3 * len(sample_ids), 4)).astype(np.float16)),
        fingerprints=table.fingerprints(ids),
    )
    encoder = choose_encoder("raw:fp16", dense.description, temperature=1.0, device="cpu").encoder
    return write_label_set(dense, encoder, directory)


@pytest.fixture(scope="module")
def staged(
    images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LabelSetDirectory, LabelSetDirectory]:
    """The label sets after the first and after the second stage."""
    root = tmp_path_factory.mktemp("staged")
    first, second = (
        stage_of(root / f"alone-{number}", images, list(range(number, 16, 2)))
        for number in range(2)
    )
    begun = add_stage(None, first, root / "one", name="easy", learning_rate=0.01, epochs=EPOCHS)
    grown = add_stage(begun, second, root / "two", name="hard", learning_rate=0.002, epochs=EPOCHS)
    return begun, grown


def test_the_next_stage_shares_the_earlier_segments(
    service: RunningService, staged: tuple[LabelSetDirectory, LabelSetDirectory]
) -> None:
    begun, grown = staged
    assert grown.manifest.segments[:1] == begun.manifest.segments
    assert grown.manifest.stages[0] == begun.manifest.stages[0]
    shared = begun.manifest.blobs().keys() & grown.manifest.blobs().keys()
    assert {ref.digest for ref in begun.manifest.segments[0].codes.blobs()} <= shared
    service.push(begun, "staged:one")
    service.push(grown, "staged:two")
    with service.client() as client:
        one, two = client.open("staged:one"), client.open("staged:two")
        old = two.stage_views(0)
        np.testing.assert_array_equal(np.unique(old.sample_ids), np.arange(0, 16, 2))
        new = two.stage_views(1, new=True)
        np.testing.assert_array_equal(np.unique(new.sample_ids), np.arange(1, 16, 2))
        assert len(two.stage_views(1)) == 48
        with pytest.raises(InvalidRequestError, match="no stage 2"):
            two.stage_views(2)
        # A sample keeps its ID and its labels when the set grows.
        logits = Representation.logits()
        before, after = client.labels(one, old, logits), client.labels(two, old, logits)
        np.testing.assert_array_equal(before.values, after.values)
        expected = begun.decoder().decode(begun.gather(old), old)
        np.testing.assert_array_equal(after.values.astype(np.float32), expected)


def test_a_student_trains_through_the_stages_and_resumes_between_them(
    service: RunningService,
    staged: tuple[LabelSetDirectory, LabelSetDirectory],
    images: Path,
    tmp_path: Path,
) -> None:
    service.push(staged[1], "staged:train")

    def train(out: Path) -> list[dict[str, float]]:
        script = [sys.executable, "examples/staged_training.py", "--address", service.grpc]
        options = ["--tag", "staged:train", "--images", str(images), "--out", str(out)]
        options += ["--student", "tests.e2e.students:small", "--batch-size", "4"]
        done = subprocess.run(
            [*script, *options],
            cwd=ROOT,
            env=clean_environment({"PYTHONPATH": str(ROOT)}),
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert done.returncode == 0, done.stderr
        trained: list[dict[str, float]] = json.loads(done.stdout)
        return trained

    whole = train(tmp_path / "whole")
    # 8 samples a stage in batches of 4: the second stage has both stages' samples.
    assert [stage["steps"] for stage in whole] == [2 * EPOCHS, 4 * EPOCHS]
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "stage-0.pt").write_bytes((tmp_path / "whole" / "stage-0.pt").read_bytes())
    (resumed,) = train(broken)
    assert resumed == whole[1]
    assert train(broken) == []


def test_a_staged_set_has_the_fingerprints_of_all_stages(
    staged: tuple[LabelSetDirectory, LabelSetDirectory], images: Path
) -> None:
    for label_set, count in zip(staged, (8, 16), strict=True):
        found = label_set.fingerprints()
        assert found is not None
        assert len(found.sample_ids) == count
        table = SampleTable(ImageFolder(images))
        assert label_set.contract.dataset == table.digest(found.sample_ids)


def test_fingerprints_of_stages_are_combined_refused_or_left_out(
    staged: tuple[LabelSetDirectory, LabelSetDirectory], images: Path, tmp_path: Path
) -> None:
    begun, _ = staged
    plain = add_stage(
        None,
        stage_of(tmp_path / "1", images, [1]),
        tmp_path / "plain",
        name="plain",
        keep_fingerprints=False,
    )
    assert plain.fingerprints() is None
    # One that has no stages of its own can be added.
    bare = replace(plain.manifest, stages=())
    (plain.directory / "manifest.json").write_bytes(bare.to_bytes())
    lacking = LabelSetDirectory(plain.directory)
    with pytest.raises(ManifestError, match=r"those of files .* the added set none; .*--no-finger"):
        add_stage(begun, lacking, tmp_path / "out", name="more")
    allowed = add_stage(begun, lacking, tmp_path / "out", name="more", keep_fingerprints=False)
    assert allowed.fingerprints() is None
    assert allowed.manifest.parts == ()
    grey = stage_of(tmp_path / "grey", images, [1], channels=1)
    with pytest.raises(ManifestError, match=r"\(RGB, .* \(L, "):
        add_stage(begun, grey, tmp_path / "mixed", name="grey")
    with pytest.raises(ManifestError, match="leave --dataset out"):
        add_stage(
            begun,
            stage_of(tmp_path / "3", images, [3]),
            tmp_path / "named",
            name="named",
            dataset=digest_of(b"another"),
        )


def test_a_sample_has_one_image_in_all_stages(images: Path, tmp_path: Path) -> None:
    first = stage_of(tmp_path / "first", images, [0, 2])
    other = tmp_path / "other"
    shutil.copytree(images, other)
    shutil.copyfile(images / "birch" / "3.png", other / "ash" / "2.png")
    second = stage_of(tmp_path / "second", other, [2], seeds=range(3, 6))
    with pytest.raises(ManifestError, match="two fingerprints of sample ID 2"):
        add_stage(first, second, tmp_path / "out", name="again")


def test_stages_that_do_not_fit_are_refused(
    staged: tuple[LabelSetDirectory, LabelSetDirectory], images: Path, tmp_path: Path
) -> None:
    begun, _ = staged
    again = stage_of(tmp_path / "again", images, [0, 1])
    with pytest.raises(ManifestError, match="same view"):
        add_stage(begun, again, tmp_path / "out", name="again")
    other = stage_of(tmp_path / "other", images, [1], replace(POLICY, key=1))
    with pytest.raises(ManifestError, match="policy"):
        add_stage(begun, other, tmp_path / "out", name="other")
    stranger = stage_of(tmp_path / "stranger", images, [1])
    contract = replace(stranger.manifest.contract, teacher=digest_of(b"another"))
    renamed = replace(stranger.manifest, contract=contract)
    (stranger.directory / "manifest.json").write_bytes(renamed.to_bytes())
    with pytest.raises(ManifestError, match="teacher"):
        add_stage(begun, LabelSetDirectory(stranger.directory), tmp_path / "out", name="stranger")
    mixed = replace(POLICY, mix=Mix.CUTMIX)
    first = stage_of(tmp_path / "first", images, [0, 2], mixed)
    second = stage_of(tmp_path / "second", images, [1, 3], mixed)
    with pytest.raises(ManifestError, match="share one"):
        add_stage(first, second, tmp_path / "out", name="mixed")
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("segments", [(1,), (2, 2), (1, 3)])
def test_stages_must_add_up_to_the_segments(
    staged: tuple[LabelSetDirectory, LabelSetDirectory], segments: tuple[int, ...]
) -> None:
    stages = tuple(Stage(name="stage", segments=count) for count in segments)
    manifest = replace(staged[1].manifest, stages=stages)
    with pytest.raises(ManifestError, match="stage"):
        type(manifest).from_bytes(manifest.to_bytes())


def test_a_staged_set_is_known_no_better_than_its_least_known_stage(
    images: Path, tmp_path: Path
) -> None:
    sets = [stage_of(tmp_path / f"set-{at}", images, [at, at + 2]) for at in range(2)]
    contract = replace(sets[1].manifest.contract, sample_order=SampleOrder.UNVERIFIED)
    guessed = replace(sets[1].manifest, contract=contract)
    (sets[1].directory / "manifest.json").write_bytes(guessed.to_bytes())
    both = add_stage(sets[0], LabelSetDirectory(sets[1].directory), tmp_path / "both", name="more")
    assert both.manifest.contract.sample_order is SampleOrder.UNVERIFIED
    reports = [one.manifest.report for one in (*sets, both)]
    found = [
        json.loads(one.read_blob(ref))["hard_label_agreement"]
        for one, ref in zip((*sets, both), reports, strict=True)
        if ref is not None
    ]
    assert found[2] == pytest.approx((found[0] + found[1]) / 2)


def test_the_command_adds_a_stage(images: Path, tmp_path: Path) -> None:
    first = stage_of(tmp_path / "first", images, [0, 2])
    second = stage_of(tmp_path / "second", images, [1, 3])
    done = run_labelcast(
        *("stage", str(second.directory), "--base", str(first.directory), "--name", "more"),
        *("--out", str(tmp_path / "both"), "--json"),
    )
    assert done.returncode == 0, done.stderr
    both = LabelSetDirectory(tmp_path / "both")
    assert json.loads(done.stdout) == {"digest": both.digest, "stages": 2}
    assert [stage.name for stage in both.manifest.stages] == ["stage 0", "more"]

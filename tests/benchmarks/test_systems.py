"""What the systems benchmark rests on: that everybody looks at the same views."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.systems.direct import stored_batches
from benchmarks.systems.pixels import read_folder, write_folder
from benchmarks.systems.plan import (
    planned_views,
    policy_of,
    production_of,
    recipe_of,
    relabel_options,
    stored_steps,
)
from benchmarks.systems.producer import INDICES_NAME, Production, produce
from benchmarks.systems.settings import FULL, QUICK, SYSTEMS, VIEW_SIZE, System
from benchmarks.systems.table import systems_table
from benchmarks.systems.teacher import GreyTeacher
from labelcast.augmentation import Mix, RecordedPolicy, RecordedViews
from labelcast.torch.images.image_folder import ImageFolder
from labelcast.torch.images.render_seeded import ViewRenderer
from labelcast.torch.images.replay_recorded import render_recorded
from labelcast.torch.images.samples import SampleTable
from tests.factories.command import run_labelcast

ROOT = Path(__file__).parents[2]
CLASSES = QUICK.teacher.num_classes
SRE2L, LPLD, RDED = SYSTEMS["sre2l"], SYSTEMS["lpld"], SYSTEMS["rded"]


class Echo(nn.Module):
    """A teacher whose logits are the pixels that it was shown."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise: pictures in which every wrong pixel shows."""
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (QUICK.samples, VIEW_SIZE, VIEW_SIZE), dtype=np.uint8)
    write_folder(root, pixels, (np.arange(QUICK.samples) // 2).tolist())
    return root


@pytest.fixture(scope="module", params=["sre2l", "cda", "lpld"])
def produced(
    request: pytest.FixtureRequest, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[System, Production, Path]:
    """Files of a producer whose labels are the views themselves."""
    system = SYSTEMS[request.param]
    files = tmp_path_factory.mktemp(system.name)
    production = production_of(system, QUICK)
    produce(production, images, Echo(), files)
    return system, production, files


def load(files: Path, epoch: int, number: int) -> list[Any]:
    record: list[Any] = torch.load(
        files / f"epoch_{epoch}" / f"batch_{number}.tar", weights_only=False
    )
    return record


def test_files_are_those_of_the_papers(produced: tuple[System, Production, Path]) -> None:
    system, production, files = produced
    stored = production.stored()
    found = {path.relative_to(files).as_posix() for path in files.rglob("*.tar")}
    assert found == {f"epoch_{epoch}/batch_{number}.tar" for epoch, number in stored}
    for epoch, number in stored:
        coords, flip, mix_index, lam, box, logits = load(files, epoch, number)
        count = len(production.batch(production.orders()[epoch], number))
        assert (coords.dtype, tuple(coords.shape)) == (torch.float32, (count, 4))
        assert (flip.dtype, flip.any().item()) == (torch.bool, False)
        assert sorted(mix_index.tolist()) == list(range(count))
        assert type(lam) is float
        assert type(box) is list
        assert [type(edge) for edge in box] == [np.int64] * 4
        assert (logits.dtype, len(logits)) == (torch.float16, count)
        assert (coords[:, :2] + coords[:, 2:] <= 1 + 1e-6).all()
    assert (files / INDICES_NAME).is_file() == (system is LPLD)


def test_lpld_keeps_a_fortieth_and_names_the_samples(images: Path, tmp_path: Path) -> None:
    production = production_of(LPLD, QUICK)
    # 60 epochs of five whole batches of eight, of 44 images.
    assert [len([one for one in production.stored() if one[0] == e]) for e in (0, 1)] == [5, 2]
    assert produce(production, images, Echo(), tmp_path) == 7 * 8
    named = json.loads((tmp_path / INDICES_NAME).read_text())
    assert named == {str(e): order for e, order in enumerate(production.orders())}
    assert sorted(named["0"]) == list(range(QUICK.samples))
    full = production_of(LPLD, FULL).stored()
    assert (len(full), full[-1]) == (150, (7, 9))


def test_the_plain_loop_shows_what_the_teacher_saw(
    produced: tuple[System, Production, Path], images: Path
) -> None:
    system, _, files = produced
    batches = list(stored_batches(system, QUICK, 0, files=files, images=images))
    assert len(batches) == len(stored_steps(system, QUICK, 0))
    for views, labels in batches:
        assert torch.equal(views.flatten(1).half(), labels)


def test_the_librarys_views_are_the_plain_loops_to_the_last_bit(
    produced: tuple[System, Production, Path], images: Path
) -> None:
    system, production, files = produced
    policy = RecordedPolicy(view_height=VIEW_SIZE, view_width=VIEW_SIZE, mix=Mix.CUTMIX)
    table = SampleTable(ImageFolder(images, channels=1))
    batches = stored_batches(system, QUICK, 1, files=files, images=images)
    for (shown, _), views, (epoch, number) in zip(
        batches,
        planned_views(system, QUICK, 1),
        stored_steps(system, QUICK, 1),
        strict=True,
    ):
        assert views.sample_ids.tolist() == production.batch(production.orders()[epoch], number)
        assert set(views.seeds.tolist()) == {epoch}
        coords, _, mix_index, lam, box, _ = load(files, epoch, number)
        records = RecordedViews.plain(views.sample_ids, views.seeds, policy)
        records.crop[:] = coords.numpy()
        records.lam[:] = lam
        records.box[:] = np.array(box)
        records.partner_sample_ids[:] = views.sample_ids[mix_index.numpy()]
        own = table.image_list(views.sample_ids)
        partners = [own[at] for at in mix_index.tolist()]
        rendered = render_recorded(policy, records, own, records[mix_index.numpy()], partners)
        assert torch.equal(rendered, shown)


def test_images_are_read_in_the_order_of_a_folder(images: Path) -> None:
    folder = ImageFolder(images, channels=1)
    table = SampleTable(folder)
    assert torch.equal(read_folder(images), table.images(table.sample_ids))
    assert folder.hard_labels.tolist() == (np.arange(QUICK.samples) // 2).tolist()


def test_a_run_can_be_produced_again(images: Path, tmp_path: Path) -> None:
    production = production_of(SRE2L, QUICK)
    state = torch.get_rng_state()
    for name in ("one", "two"):
        produce(production, images, Echo(), tmp_path / name)
    assert torch.equal(torch.get_rng_state(), state)
    one, two = (load(tmp_path / name, 2, 1) for name in ("one", "two"))
    assert torch.equal(one[0], two[0])
    assert torch.equal(one[5], two[5])


def test_students_of_pruned_labels_take_as_many_steps() -> None:
    for scale in (QUICK, FULL):
        steps = len(stored_steps(SRE2L, scale, 0))
        drawn = stored_steps(LPLD, scale, 0)
        assert len(drawn) == steps
        assert set(drawn) <= set(production_of(LPLD, scale).stored())
        assert drawn != stored_steps(LPLD, scale, 1)
        assert drawn == stored_steps(LPLD, scale, 0)
        assert len(planned_views(RDED, scale, 0)) == steps


def test_seeded_views_are_mixed_within_their_batch() -> None:
    table = np.arange(QUICK.samples, dtype=np.uint64)
    renderer = ViewRenderer(policy_of(RDED, QUICK), table)
    plan = planned_views(RDED, QUICK, 0)
    for views in plan:
        partners = renderer.partners(views)
        assert set(partners.sample_ids.tolist()) == set(views.sample_ids.tolist())
    first = np.concatenate([views.sample_ids for views in plan if views.seeds[0] == 0])
    assert sorted(first.tolist()) == table.tolist()


def test_the_command_is_told_the_same_recipe() -> None:
    shown = run_labelcast("relabel", "--show", *relabel_options(RDED, QUICK))
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout) == recipe_of(RDED, QUICK).as_json()


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_systems_reach_worker_processes(name: str) -> None:
    assert pickle.loads(pickle.dumps(SYSTEMS[name])) == SYSTEMS[name]


def test_the_teacher_takes_grey_as_rgb() -> None:
    grey = torch.rand(2, 1, 4, 4)
    teacher = GreyTeacher(nn.Flatten())
    assert torch.equal(teacher(grey), teacher(grey.expand(-1, 3, -1, -1)))


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(1200)
def test_a_tiny_run_of_the_whole_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.systems", "--quick", "--seeds", "1"]
    command += ["--system", "lpld", "--work", str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLYPHS_CACHE_DIR": str(tmp_path / "cache")}

    def run() -> dict[str, Any]:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(
            (tmp_path / "systems" / "quick" / "systems.json").read_text()
        )
        return found

    result = run()
    assert [system["system"] for system in result["systems"]] == ["lpld"]
    for system in result["systems"]:
        assert system["raw_equals_direct"] is True
        assert system["raw_top1_equals_direct"] is True
        assert system["retention"]["raw"]["mean"] == 1
        assert system["codes"]["parts"]["payload"] == 8 * system["labels"]
        assert system["codes"]["parts"]["augmentation"] > 0
        assert system["sample_order"] == "verified"
        assert system["original"]["container_bytes"] > 0
    assert systems_table(result).count("\n") == 2
    # All is done: a second call starts neither commands nor a service.
    assert run() == result

"""The teacher's cache, its factory and the views it trains on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from labelcast_glyphs import Teacher, TeacherSettings, load_teacher, train_or_load_teacher
from labelcast_glyphs.batch_augmentation import cutmix, random_geometry


def test_the_same_settings_hit_the_cache(tiny_teacher: Teacher) -> None:
    cache = tiny_teacher.path.parent
    again = train_or_load_teacher(tiny_teacher.settings, cache, show_progress=False)
    assert not tiny_teacher.from_cache
    assert again.from_cache
    assert again.digest == tiny_teacher.digest
    assert again.held_out_top1 == tiny_teacher.held_out_top1
    assert [path.name for path in cache.iterdir()] == [tiny_teacher.path.name]


def test_other_settings_train_another_teacher(tiny_teacher: Teacher, tmp_path: Path) -> None:
    other = train_or_load_teacher(
        replace(tiny_teacher.settings, seed=1), tmp_path, show_progress=False
    )
    assert not other.from_cache
    assert other.digest != tiny_teacher.digest


def test_training_leaves_the_global_generator_alone(tiny_teacher: Teacher, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    train_or_load_teacher(tiny_teacher.settings, tmp_path, show_progress=False)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_factory_returns_the_same_network(tiny_teacher: Teacher) -> None:
    network = load_teacher(str(tiny_teacher.path))
    images = torch.rand(4, 1, 32, 32)
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    stored, trained = network.state_dict(), tiny_teacher.network.state_dict()
    assert stored.keys() == trained.keys()
    assert all(torch.equal(stored[name], trained[name]) for name in stored)
    torch.testing.assert_close(network(images), tiny_teacher.network(images), rtol=1e-4, atol=1e-4)


def test_progress_goes_to_stderr(
    tiny_teacher: Teacher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_or_load_teacher(tiny_teacher.settings, tmp_path)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "teacher" in captured.err


def test_a_missing_file_is_named() -> None:
    with pytest.raises(FileNotFoundError):
        load_teacher("no-such-teacher.safetensors")


def test_a_truncated_file_is_refused(tiny_teacher: Teacher, tmp_path: Path) -> None:
    whole = tiny_teacher.path.read_bytes()
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        broken = tmp_path / "teacher.safetensors"
        broken.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="damaged"):
            load_teacher(broken)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a teacher"):
        load_teacher(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 0), ("batch_size", 0), ("min_crop_scale", 0.0), ("cutmix_share", 1.5)],
)
def test_impossible_settings_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(TeacherSettings(), **{field: value})  # type: ignore[arg-type]


def test_no_rotation_and_no_crop_is_the_picture_itself_up_to_its_ratio() -> None:
    images = torch.rand(6, 1, 32, 32)
    views = random_geometry(
        images,
        max_rotation_degrees=0.0,
        min_crop_scale=1.0,
        generator=torch.Generator().manual_seed(0),
    )
    assert views.shape == images.shape
    assert 0 <= float(views.min()) <= float(views.max()) <= 1


def test_cutmix_reports_the_partner_and_its_clipped_area() -> None:
    images = torch.arange(50.0).reshape(50, 1, 1, 1).expand(50, 1, 32, 32)
    mixed, partner, share = cutmix(images, generator=torch.Generator().manual_seed(0))
    foreign = mixed == partner.float().reshape(50, 1, 1, 1)
    other = partner != torch.arange(50)
    assert torch.equal(foreign.float().mean(dim=(1, 2, 3))[other], share[other])
    assert (foreign | (mixed == images)).all()
    assert 0 < float(share.mean()) < 0.5

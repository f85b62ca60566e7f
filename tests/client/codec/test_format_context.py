"""FORMAT.md on context: its worked row is what the code derives, and what its own text gives."""

import json
import math
import re
from dataclasses import dataclass
from importlib import resources

import numpy as np
import pytest

from labelcast.augmentation import AugmentationPolicy, draw_records
from labelcast.codec import ContextShape
from labelcast.context.rows import GEOMETRY_WIDTH
from labelcast.context.view_context import ViewContext
from labelcast.views import Views

FORMAT = resources.files("labelcast.codec").joinpath("FORMAT.md").read_text("utf-8")
IDS, HARD = [10, 20, 30, 40], [0, 1, 0, 1]
F = 65536


def printed(pattern: str) -> str:
    found = re.search(pattern, FORMAT, re.DOTALL)
    assert found is not None
    return found[1]


POLICY = AugmentationPolicy.from_json(json.loads(printed(r"```json\n(.*?)```")))
ROW = bytes.fromhex(printed(r"```context\n(.*?)```"))


def philox(counter: list[int], key: int) -> list[int]:
    """Philox 4×32-10 in Python's own integers."""
    a, b, c, d = counter
    k0, k1 = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b = (second >> 32) ^ b ^ k0, second & 0xFFFFFFFF
        c, d = (first >> 32) ^ d ^ k1, first & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return [a, b, c, d]


@dataclass(frozen=True)
class Record:
    """One record, by the text of section 6."""

    crop: tuple[int, int, int, int, int, int]
    partner: int
    box: tuple[int, int, int, int]


def box_side(side: float, centre: float, pixels: int) -> tuple[int, int]:
    middle, half = math.floor(centre * pixels), math.floor(side * pixels / 2)
    return max(middle - half, 0), min(middle + half, pixels)


def record_of(policy: AugmentationPolicy, ids: list[int], sample_id: int, seed: int) -> Record:
    low_id, high_id = sample_id % 2**32, sample_id >> 32
    words = [
        word for block in range(3) for word in philox([low_id, high_id, seed, block], policy.key)
    ]
    u = [word * 2.0**-32 for word in words]
    low, high = policy.crop_scale
    area, ratio = low + u[0] * (high - low), 1 + u[1] * (policy.crop_ratio - 1)
    ratio = ratio if u[2] < 0.5 else 1 / ratio
    width = round(F * min(math.sqrt(area * ratio), 1))
    height = round(F * min(math.sqrt(area / ratio), 1))
    top, left = math.floor(u[3] * (F - height + 1)), math.floor(u[4] * (F - width + 1))
    rotation = round((2 * u[5] - 1) * policy.rotation_degrees * F)
    mixed = policy.mix == "cutmix" and u[8] < policy.mix_probability
    side = math.sqrt(1 - u[9]) if mixed else 0
    box_top, box_bottom = box_side(side, u[10], policy.view_height)
    box_left, box_right = box_side(side, u[11], policy.view_width)
    return Record(
        crop=(top, left, height, width, rotation, int(u[6] < policy.flip_probability)),
        partner=ids[words[7] * len(ids) >> 32] if mixed else sample_id,
        box=(box_top, box_left, box_bottom, box_right),
    )


def crop_columns(record: Record) -> list[float]:
    *sides, rotation, flip = record.crop
    return [*(2 * side / F - 1 for side in sides), rotation / (45 * F), flip]


def row_of(policy: AugmentationPolicy, ids: list[int], sample_id: int, seed: int) -> bytes:
    """One context row, by the text of section 5."""
    record = record_of(policy, ids, sample_id, seed)
    top, left, bottom, right = record.box
    H, W = policy.view_height, policy.view_width
    share = (bottom - top) * (right - left) / (H * W)
    partner = record.partner if share else sample_id
    box = (2 * top / H - 1, 2 * left / W - 1, 2 * bottom / H - 1, 2 * right / W - 1)
    columns = [
        *crop_columns(record),
        *crop_columns(record_of(policy, ids, partner, seed)),
        *(box if share else (-1,) * 4),
        share,
    ]
    labels = [HARD[ids.index(number) % len(HARD)] for number in (sample_id, partner)]
    return np.array(labels, "<u4").tobytes() + np.array(columns, "<f4").tobytes()


def test_the_code_derives_the_row_as_printed() -> None:
    context = ViewContext(POLICY, np.array(IDS, np.uint64), np.array(HARD))
    row = context.rows(Views.of([20], [3]))
    assert row.tobytes() == ROW
    assert len(ROW) == ContextShape(1).row_stride == 76


def test_the_text_gives_the_row_as_printed() -> None:
    assert row_of(POLICY, IDS, 20, 3) == ROW


def test_the_records_are_drawn_as_printed() -> None:
    rows = re.findall(
        r"^\| (\d+), (\d+) \|((?: -?\d+ \|){6}) (\S+) \| (.+) \|$", FORMAT, re.MULTILINE
    )
    assert [row[:2] for row in rows] == [("20", "3"), ("10", "3")]
    for sample_id, seed, fields, partner, box in rows:
        record = record_of(POLICY, IDS, int(sample_id), int(seed))
        assert record.crop == tuple(int(field) for field in re.findall(r"-?\d+", fields))
        if partner != "–":
            assert record.partner == int(partner)
            assert record.box == tuple(int(side) for side in re.findall(r"\d+", box))


@pytest.mark.parametrize("high", [0, 2**40])
def test_the_text_gives_what_the_code_derives(high: int) -> None:
    policy = AugmentationPolicy(
        view_height=13,
        view_width=7,
        rotation_degrees=33.3,
        crop_scale=(0.1, 0.8),
        crop_ratio=1.7,
        flip_probability=0.3,
        mix=POLICY.mix,
        mix_probability=0.6,
        key=2**63 + 12345,
    )
    ids = [high + 3 * number for number in range(40)]
    table, hard = np.array(ids, np.uint64), np.resize(np.array(HARD), len(ids))
    views = Views.of(np.repeat(table, 5), np.tile([0, 1, 77, 2**31, 2**32 - 1], 40))
    rows = ViewContext(policy, table, hard).rows(views)
    pairs = zip(views.sample_ids.tolist(), views.seeds.tolist(), strict=True)
    assert [row.tobytes() for row in rows] == [row_of(policy, ids, *pair) for pair in pairs]
    mixed = draw_records(policy, views.sample_ids, views.seeds, sample_table=table).box_pixels() > 0
    assert 50 < mixed.sum() < 150


def test_the_text_names_every_column() -> None:
    table = printed(r"\| column \| value \|\n\|---\|---\|\n(.*?)\n\n")
    named: list[int] = []
    for line in table.splitlines():
        cell = line.split("|")[1].strip()
        first, dash, last = cell.partition("–")
        named += (
            range(int(first), int(last) + 1) if dash else [int(part) for part in cell.split(",")]
        )
    assert named == list(range(GEOMETRY_WIDTH))

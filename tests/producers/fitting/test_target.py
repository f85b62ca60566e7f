from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from labelcast.errors import InvalidRequestError
from labelcast_producers.dense.files import LabelRows
from labelcast_producers.fitting.target import (
    MAX_TARGET_BYTES,
    check_targets,
    parse_targets,
    target_config,
)
from tests.factories.fitted import fit_file, write_labels


def labels_of(num_rows: int, rows_per_seed: int | None = None) -> LabelRows:
    shape = SimpleNamespace(num_rows=num_rows, rows_per_seed=rows_per_seed, num_classes=100)
    return cast("LabelRows", shape)


MANY, FEW = labels_of(1_000_000), labels_of(600)


@pytest.mark.parametrize("labels", [MANY, FEW, labels_of(1), labels_of(7, rows_per_seed=7)])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 100, 128, 129, MAX_TARGET_BYTES])
def test_rows_are_exactly_as_wide_as_asked(labels: LabelRows, size: int) -> None:
    assert target_config(size, {}, labels).vqae.row_stride == size


def test_a_byte_is_one_code_of_256_codewords() -> None:
    chosen = target_config(8, {"steps": 10}, MANY)
    assert (chosen.codes, chosen.codebook_size, chosen.codeword_width) == (8, 256, 8)
    assert chosen.steps == 10


def test_few_rows_get_smaller_codebooks_and_a_decoder_of_the_same_size() -> None:
    chosen = target_config(8, {}, FEW)
    assert (chosen.codes, chosen.codebook_size, chosen.codeword_width) == (16, 16, 4)


def test_only_fitted_rows_place_codewords() -> None:
    labels = labels_of(2400)
    assert target_config(1, {"holdout_every": 0}, labels).codebook_size == 256
    assert target_config(1, {"holdout_every": 2}, labels).codebook_size == 16


@pytest.mark.parametrize("labels", [MANY, FEW])
def test_a_width_that_was_asked_for_is_kept(labels: LabelRows) -> None:
    assert target_config(8, {"codeword_width": 5}, labels).codeword_width == 5


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (0.1, "whole bytes"),
        (2.5, "whole bytes"),
        (float("nan"), "whole bytes"),
        (float("inf"), "whole bytes"),
        (float("-inf"), "whole bytes"),
        (0, "at least one byte"),
        (-8, "at least one byte"),
        (257, "at most 256 codes"),
        (1e30, "at most 256 codes"),
    ],
)
def test_impossible_targets_are_refused_with_what_is_possible(target: float, why: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        target_config(target, {}, MANY)
    assert f"no label has {target:g} bytes" in caught.value.message
    assert why in caught.value.message
    assert "whole numbers from 1 to 256" in caught.value.message
    with pytest.raises(InvalidRequestError, match="no label has"):
        check_targets([target])


@pytest.mark.parametrize("settings", [{"codes": 8}, {"codebook_size": 16, "codes": 4}])
def test_codes_and_a_target_contradict_each_other(settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError, match=f"leave out .*{next(iter(settings))}"):
        target_config(8, settings, MANY)


def test_other_settings_are_checked() -> None:
    with pytest.raises(InvalidRequestError, match="steps"):
        target_config(8, {"steps": 0}, MANY)
    with pytest.raises(InvalidRequestError, match="codes \\* codeword_width is above"):
        target_config(200, {"codeword_width": 100}, MANY)


def test_targets_of_a_sweep_are_read() -> None:
    assert parse_targets("2, 4,8 ") == (2, 4, 8)
    assert parse_targets("1") == (1,)
    assert check_targets([1, 256]) == (1, 256)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no list of targets"),
        ("2,,4", "no list of targets"),
        ("2,4,", "no list of targets"),
        ("2;4", "'2;4' is no number"),
        ("two", "'two' is no number"),
        ("0.1,2", "no label has 0.1 bytes"),
        ("2,4,4,8", "names 4 twice"),
        ("4,2", "ascend: 2 comes after 4"),
        ("2,nan", "no label has nan bytes"),
        ("2,1000", "no label has 1000 bytes"),
    ],
)
def test_a_sweep_that_cannot_be_is_said_so(text: str, says: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_targets(text)
    assert says in caught.value.message


def test_a_sweep_of_nothing_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="at least one"):
        check_targets([])


@pytest.mark.parametrize("size", [1, 4])
def test_a_target_is_what_the_fit_spends(tmp_path: Path, size: int) -> None:
    path = write_labels(tmp_path)
    chosen = target_config(size, {}, labels_of(480, rows_per_seed=40))
    sizes = chosen.model_dump(include={"codes", "codebook_size", "codeword_width"})
    report = fit_file(path, tmp_path / "out", steps=60, **sizes).report
    assert report.bytes_a_label.payload == size
    assert report.unseen is not None
    assert len(report.unseen.perplexities) == 2 * size

"""Advice in messages on DistillKit's Parquet files: what causes each, and that it works."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import yaml

from labelcast.codec import LabelKind
from labelcast.codec.topk import Recovery
from labelcast_producers.formats.distillkit import DistillKitImporter
from labelcast_producers.formats.distillkit.config import settings_beside
from labelcast_producers.formats.distillkit.parquet import SequenceFile
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.damaged_files import Damage, read, slug, try_the_good_file
from tests.producers.formats.writers.distillkit import (
    EXACT,
    Row,
    Settings,
    write_distillkit,
    write_rows,
)

ZERO = ImportOptions(recovery=Recovery.ZERO)
FILE, SETTINGS = "data_0.parquet", "compression_config.yaml"
TOKENS, VALUES, INDICES = "input_ids", "compressed_logprobs", "bytepacked_indices"
PLAIN = EXACT | {"delta_encoding": False}


def good(path: Path) -> object:
    return write_distillkit(path, EXACT, lengths=[3, 4, 2])


def rows(change: Callable[[Row], object]) -> Callable[[Path], object]:
    """Harm to the second sequence of a file."""

    def harm(file: Path) -> None:
        stored = pq.read_table(file).to_pylist()
        change(stored[1])
        write_rows(file.parent, stored)

    return harm


def legacy(file: Path) -> None:
    """Columns as DistillKit named them before."""
    nested = pa.list_(pa.list_(pa.float32()))
    schema = pa.schema([(name, nested) for name in ("packed_indices", "exact_values", "coeffs")])
    write_rows(file.parent, [], schema=schema)


def settings(path: Path, content: object) -> Import:
    (path / SETTINGS).write_text(yaml.safe_dump(content))
    return read(path, ZERO)


DAMAGES = [
    Damage("token 2: a byte of bytepacked_indices is null; write the file again", FILE,
           rows(lambda row: row[INDICES][2].__setitem__(3, None)), good, ZERO),
    Damage("row 1: compressed_logprobs is null; write the file again", FILE,
           rows(lambda row: row.update({VALUES: None})), good, ZERO),
    Damage("as many or one fewer; write the file again", FILE,
           rows(lambda row: row[TOKENS].extend([1, 2])), good, ZERO),
    Damage("byte strings in compressed_logprobs but 4 in bytepacked_indices; write the file again",
           FILE, rows(lambda row: row[VALUES].pop()), good, ZERO),
    Damage("); copy it again", FILE,
           lambda file: file.write_bytes(file.read_bytes()[:-9]), good, ZERO),
    Damage("which is not supported; write the labels again with the current one", FILE,
           legacy, good, ZERO),
    Damage("which is not supported; write the labels again with the current one", SETTINGS,
           lambda file: file.write_text("polynomial_degree: 8\nk: 8\n"), good, ZERO),
    Damage("; restore the file", SETTINGS, lambda file: file.write_text("d: [300,"), good, ZERO),
    Damage("holds no mapping with d and k; is it DistillKit's?", SETTINGS,
           lambda file: file.write_text("epochs: 3"), good, ZERO),
    Damage("no compression_config.yaml, which says how the bytes are cut up; put the one that the"
           " labels were written with beside them", SETTINGS, Path.unlink, good, ZERO),
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=slug)
def test_the_good_file_in_its_place(damage: Damage, tmp_path: Path) -> None:
    try_the_good_file(damage, tmp_path)


def with_options(at: Path, **options: Any) -> Import:
    good(at)
    return read(at, ImportOptions(**options))


def read_as(at: Path, wrong: Settings, right: Settings, **how: Any) -> Import:
    """Files beside which the settings of another capture lie."""
    write_distillkit(at, right, lengths=[3, 4, 2], **how)
    return settings(at, wrong)


def not_a_number(at: Path) -> Import:
    good(at)
    bad = np.full(EXACT["k"], np.nan, "<f4").view(np.uint8).tolist()
    rows(lambda row: row[VALUES].__setitem__(2, bad))(at / FILE)
    return read(at, ZERO)


def without_that_sequence(at: Path) -> Import:
    stored = pq.read_table(at / FILE).to_pylist()
    write_rows(at, [stored[0], stored[2]])
    return read(at, ZERO)


def several(at: Path) -> Import:
    good(at)
    (at / SETTINGS).rename(at / "capture.yaml")
    (at / "training.yml").write_text(yaml.safe_dump({"teacher": PLAIN | {"k": 4}}))
    return read(at, ZERO)


def with_tokens_beside(at: Path) -> Path:
    """Another Parquet file among DistillKit's."""
    good(at)
    pq.write_table(pa.table({TOKENS: [[1], [2]]}), at / "tokens.parquet")
    return at


def opened(at: Path) -> object:
    return DistillKitImporter().open(at, ZERO)


def each_file(at: Path) -> list[SequenceFile]:
    """What whoever reads the files one by one meets."""
    found = settings_beside(at)
    assert found is not None
    return [SequenceFile(file, found) for file in sorted(at.glob("*.parquet"))]


def tokens_away(at: Path) -> Path:
    (at / "tokens.parquet").rename(at / "tokens")
    return at


def changed_since(at: Path) -> object:
    good(at / "files")
    labels = Import.open(at / "files", ZERO)
    write_distillkit(at / "files", EXACT, lengths=[3, 1])
    return labels.write_label_set(at / "set")


# As many bytes, to be cut up in another way.
AS_POWERS = PLAIN | {"exact_k": 0, "polynomial_terms": [0, 1, 2, 3, 4, 5, 6, 63]}
AS_NIBBLES = {"d": 16, "k": 16, "exact_k": 16, "exact_dtype": "float16", "delta_encoding": False}
MANY = PLAIN | {"k": 16, "exact_k": 16}
BYTES = PLAIN | {"d": 256}
FLAT = PLAIN | {"d": 3000, "exact_dtype": "float16"}

CASES: list[Case[Path]] = [
    Case(
        "say --recovery renormalise (the k are divided by their sum,",
        with_options,
        lambda at: [with_options(at, recovery=each) for each in Recovery],
    ),
    Case(
        "DistillKit keeps log-probabilities at temperature 1; leave --temperature out",
        lambda at: with_options(at, recovery=Recovery.ZERO, temperature=2.0),
        lambda at: with_options(at, recovery=Recovery.ZERO),
    ),
    Case(
        "DistillKit keeps probabilities: leave out --label-kind",
        lambda at: with_options(at, recovery=Recovery.ZERO, label_kind=LabelKind.LOGITS),
        lambda at: with_options(at, recovery=Recovery.ZERO),
    ),
    Case(
        "there are no images; leave --images and --image-list out",
        lambda at: with_options(at, recovery=Recovery.ZERO, images=at),
        lambda at: with_options(at, recovery=Recovery.ZERO),
    ),
    Case(
        "there are no images; leave --images and --image-list out",
        lambda at: with_options(at, recovery=Recovery.ZERO, image_list=at / "list.txt"),
        lambda at: with_options(at, recovery=Recovery.ZERO),
    ),
    Case(
        "several compression settings in capture.yaml, training.yml; put the right ones alone into"
        " compression_config.yaml",
        several,
        lambda at: settings(at, EXACT),
    ),
    Case(
        "is NaN or infinite; leave the sequence out, or check compression_config.yaml",
        not_a_number,
        without_that_sequence,
    ),
    Case(
        "is NaN or infinite; leave the sequence out, or check compression_config.yaml",
        lambda at: read_as(at, AS_POWERS, PLAIN),
        lambda at: settings(at, PLAIN),
    ),
    Case(
        "or check compression_config.yaml",
        lambda at: read_as(
            at, MANY | {"exact_dtype": "float16"}, MANY | {"exact_dtype": "bfloat16"}
        ),
        lambda at: settings(at, MANY | {"exact_dtype": "bfloat16"}),
    ),
    Case(
        "above that of the smallest fp16 number; check compression_config.yaml",
        lambda at: read_as(at, FLAT | {"exact_dtype": "bfloat16"}, FLAT, spike=0.0),
        lambda at: settings(at, FLAT),
    ),
    Case(
        "is outside the 260 tokens of d; is d that of the model which wrote the file?",
        lambda at: read_as(at, EXACT | {"d": 260}, EXACT),
        lambda at: settings(at, EXACT),
    ),
    Case(
        "an index comes twice; are k and d those of the file?",
        lambda at: read_as(at, AS_NIBBLES, BYTES),
        lambda at: settings(at, BYTES),
    ),
    Case(
        "where the settings make it 16; were others used to write the file?",
        lambda at: read_as(at, EXACT | {"exact_dtype": "float16"}, EXACT),
        lambda at: settings(at, EXACT),
    ),
    Case(
        "tokens.parquet is not DistillKit's, or unreadable; move it away",
        lambda at: opened(with_tokens_beside(at)),
        lambda at: opened(tokens_away(at)),
    ),
    Case(
        "as DistillKit writes them; move the file away if it is another one",
        lambda at: each_file(with_tokens_beside(at)),
        lambda at: each_file(tokens_away(at)),
    ),
    Case(
        "changed since it was scanned; import it again",
        changed_since,
        lambda at: read(at / "files", ZERO).write_label_set(at / "set"),
    ),
    Case(
        "4 class names for a vocabulary of 300; give 300, or leave --class-names out",
        lambda at: with_options(at, recovery=Recovery.ZERO, class_names=tuple("abcd")),
        lambda at: (
            with_options(at, recovery=Recovery.ZERO, class_names=tuple(map(str, range(300)))),
            with_options(at, recovery=Recovery.ZERO),
        ),
    ),
    Case(
        "holds 3 sequences with labels, not the 5 that --samples says; leave it out",
        lambda at: with_options(at, recovery=Recovery.ZERO, num_samples=5),
        lambda at: with_options(at, recovery=Recovery.ZERO),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=slug)
def test_the_advice_works(case: Case[Path], tmp_path: Path) -> None:
    try_advice(case, tmp_path)

"""The settings that DistillKit's README publishes, word for word, and the labels that they give."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from labelcast.codec.topk import Recovery
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.output.top_k import TopKSource
from labelcast_producers.formats.source import ImportOptions
from tests.factories.advice import Case, try_advice
from tests.producers.formats.writers.distillkit import Row, Settings, encoded, write_distillkit

VOCABULARY = 151_936
QUICK_START = """
teacher:
  kind: dataset
  logprob_compressor:
    d: 151936  # Vocabulary size
    delta_encoding: true
    error_diffusion: false
    exact_dtype: float32
    exact_k: 32
    k: 128
    polynomial_terms: [0, 1, 2]
    residual_bins: []
    term_dtype: float32
"""
RECOMMENDED = """
logprob_compressor:
  d: <your_vocab_size_here>
  k: 128
  exact_k: 16
  exact_dtype: bfloat16
  polynomial_terms: [0, 1, 2, 3, 4, "sqrt"]
  term_dtype: float32
  residual_bins: []
  delta_encoding: false
  error_diffusion: false
"""
BUDGET = """
logprob_compressor:
  d: <your_vocab_size_here>
  k: 50
  exact_k: 1
  exact_dtype: bfloat16
  polynomial_terms: [0, 1, "sqrt"]
  term_dtype: float32
  residual_bins: []
  delta_encoding: false
  error_diffusion: false
"""


def filled_in(published: str) -> str:
    """The one thing that the README leaves to its reader."""
    return published.replace("<your_vocab_size_here>", str(VOCABULARY))


def settings_in(published: str) -> Settings:
    content: dict[str, Any] = yaml.safe_load(filled_in(published))
    found: Settings = content.get("teacher", content)["logprob_compressor"]
    return found


def captured(at: Path, published: str, exponent: float) -> list[float]:
    """Write labels as of a model whose probabilities fall by a power law.

    Returns:
        The k probabilities of each label as DistillKit restores them.
    """
    settings = settings_in(published)
    logs = -exponent * np.log(np.arange(1, VOCABULARY + 1))
    logs -= np.log(np.exp(logs).sum())
    data, kept = encoded(logs[: settings["k"]].tolist(), settings)

    def all_alike(rows: list[Row]) -> None:
        for row in rows:
            row["compressed_logprobs"] = [list(data)] * len(row["compressed_logprobs"])

    write_distillkit(at, settings, lengths=[1, 1], edit=all_alike)
    (at / "compression_config.yaml").write_text(filled_in(published))
    return [math.exp(value) for value in kept]


def imported(at: Path, recovery: Recovery) -> Import:
    return Import.open(at, ImportOptions(recovery=recovery))


@pytest.mark.parametrize("published", [QUICK_START, RECOMMENDED, BUDGET])
@pytest.mark.parametrize("exponent", [1.0, 3.0])
def test_what_the_trainer_makes_of_them(tmp_path: Path, published: str, exponent: float) -> None:
    kept = captured(tmp_path, published, exponent)
    source = imported(tmp_path, Recovery.RENORMALISE).source
    assert isinstance(source, TopKSource)
    _, probabilities = source.read_top_k(source.parts[0])
    np.testing.assert_allclose(probabilities, np.array([kept, kept]) / sum(kept), rtol=1e-3)


@pytest.mark.parametrize("refused", [Recovery.ZERO, Recovery.SPREAD])
def test_a_sum_above_one_has_its_advice(tmp_path: Path, refused: Recovery) -> None:
    """The fit of the budget pick gives several per cent too much to labels that fall fast."""
    assert round(sum(captured(tmp_path, BUDGET, 3.0)), 3) == 1.052
    case = Case[Path](
        "probabilities sum to 1.052: the fit to their tail gives several per cent too much where"
        " few are exact; --recovery renormalise divides by the sum, as DistillKit's trainer does;"
        " or check compression_config.yaml",
        lambda at: imported(at, refused),
        lambda at: imported(at, Recovery.RENORMALISE),
    )
    try_advice(case, tmp_path)


def test_sums_that_are_divided_are_told(tmp_path: Path) -> None:
    captured(tmp_path / "files", BUDGET, 3.0)
    labels = imported(tmp_path / "files", Recovery.RENORMALISE)
    (note,) = [each for each in labels.notes if "sum to" in each]
    assert note.startswith("2 of 2 labels sum to above 1")
    assert note.endswith("up to 1.0520; they are divided by their sum")
    made = labels.write_label_set(tmp_path / "set")
    assert made.manifest.contract.num_classes == VOCABULARY


def test_a_vocabulary_that_was_not_filled_in(tmp_path: Path) -> None:
    captured(tmp_path, BUDGET, 1.0)
    config = tmp_path / "compression_config.yaml"
    good = config.read_text()
    config.write_text(BUDGET)
    case = Case[Path](
        "d is '<your_vocab_size_here>', not a whole number from 2 to 2147483648",
        lambda at: imported(at, Recovery.RENORMALISE),
        lambda at: (config.write_text(good), imported(at, Recovery.RENORMALISE)),
    )
    try_advice(case, tmp_path)

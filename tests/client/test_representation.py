"""Which forms of labels there are, and which a codec can take."""

from typing import Any

import numpy as np
import pytest

from labelcast.codec import CodecHeader, LabelKind, Precision, TemperatureRange
from labelcast.errors import ContractMismatchError, InvalidRequestError, UnsupportedFormError
from labelcast.representation import Form, Representation

LOGITS = CodecHeader(1000, LabelKind.LOGITS, TemperatureRange(1.0, 4.0))
EXACT = CodecHeader(1000, LabelKind.LOGITS, None)
PROBABILITIES = CodecHeader(1000, LabelKind.PROBABILITIES, TemperatureRange(2.0, 2.0))

CONTRADICTIONS: list[dict[str, Any]] = [
    {"form": Form.CODES, "precision": Precision.FP16},
    {"form": Form.CODES, "temperature": 1.0},
    {"form": Form.CODES, "k": 1},
    {"form": Form.LOGITS},
    {"form": Form.LOGITS, "precision": Precision.FP16, "temperature": 1.0},
    {"form": Form.LOGITS, "precision": Precision.FP16, "k": 1},
    {"form": Form.PROBABILITIES, "precision": Precision.FP16},
    {"form": Form.PROBABILITIES, "temperature": 1.0},
    {"form": Form.PROBABILITIES, "precision": Precision.FP16, "temperature": 1.0, "k": 1},
    {"form": Form.TOP_K, "precision": Precision.FP16, "k": 1},
    {"form": Form.TOP_K, "precision": Precision.FP16, "temperature": 1.0},
    {"form": Form.TOP_K, "temperature": 1.0, "k": 1},
    {"form": Form.TOP_K, "precision": Precision.FP32, "temperature": 1.0, "k": 1},
]


@pytest.mark.parametrize("parts", CONTRADICTIONS, ids=str)
def test_contradictions_are_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        Representation(**parts)


@pytest.mark.parametrize("temperature", [0.0, -0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_is_a_number_above_0(temperature: float) -> None:
    with pytest.raises(InvalidRequestError, match="temperature"):
        Representation.probabilities(temperature)


@pytest.mark.parametrize(
    ("representation", "num_classes", "stride"),
    [
        (Representation.codes(), 1000, 17),
        (Representation.logits(), 1000, 2000),
        (Representation.logits(Precision.FP32), 1000, 4000),
        (Representation.probabilities(1.0), 3, 6),
        (Representation.top_k(5, 1.0), 2**16, 20),
        (Representation.top_k(5, 1.0), 2**16 + 1, 30),
    ],
)
def test_strides(representation: Representation, num_classes: int, stride: int) -> None:
    assert representation.row_stride(num_classes, code_stride=17) == stride


def test_codes_have_no_type() -> None:
    assert Representation.logits().dtype == np.dtype("<f2")
    with pytest.raises(InvalidRequestError, match="decode them"):
        _ = Representation.codes().dtype


@pytest.mark.parametrize("header", [LOGITS, EXACT, PROBABILITIES])
def test_codes_are_always_given(header: CodecHeader) -> None:
    Representation.codes().check(header)


@pytest.mark.parametrize("temperature", [0.999, 4.001])
def test_a_temperature_outside_the_range_is_refused(temperature: float) -> None:
    for wanted in (
        Representation.probabilities(temperature),
        Representation.top_k(5, temperature),
    ):
        wanted.check(EXACT)
        with pytest.raises(ContractMismatchError) as caught:
            wanted.check(LOGITS)
        assert caught.value.facts["field"] == "temperature"
        assert caught.value.facts["expected"] == str(temperature)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 4.0])
def test_both_ends_of_the_range_are_right(temperature: float) -> None:
    Representation.probabilities(temperature).check(LOGITS)


def test_probabilities_have_no_logits_and_one_temperature() -> None:
    Representation.probabilities(2.0).check(PROBABILITIES)
    with pytest.raises(UnsupportedFormError, match="no logits"):
        Representation.logits().check(PROBABILITIES)
    with pytest.raises(ContractMismatchError):
        Representation.probabilities(1.0).check(PROBABILITIES)


@pytest.mark.parametrize("k", [-1, 0, 1001])
def test_k_is_within_the_classes(k: int) -> None:
    Representation.top_k(1000, 1.0).check(LOGITS)
    with pytest.raises(UnsupportedFormError, match="1 to 1000"):
        Representation.top_k(k, 1.0).check(LOGITS)

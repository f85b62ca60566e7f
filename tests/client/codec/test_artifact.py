"""Artifacts: what they give back, and every way in which a broken one is refused."""

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from labelcast.codec import (
    TOLERANCES,
    Precision,
    check_golden,
    golden_rows,
    read_artifact,
    write_artifact,
)
from labelcast.codec.artifact import METADATA_KEY
from labelcast.errors import CodecError, CodecFormatError, GoldenRowsError
from tests.factories.codecs import SAMPLES, Sample, vqae
from tests.factories.decoded import assert_decoded

Spec = dict[str, Any]
Tensors = dict[str, Any]
every_sample = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
small_samples = pytest.mark.parametrize(
    "sample", [SAMPLES["raw-fp16"], SAMPLES["topk-spread"], SAMPLES["vqae-5"]]
)


def rewritten(artifact: bytes, change: Callable[[Spec, Tensors], None]) -> bytes:
    """An artifact whose parts were changed and put together again."""
    size = struct.unpack_from("<Q", artifact)[0]
    spec = json.loads(json.loads(artifact[8 : 8 + size])["__metadata__"][METADATA_KEY])
    tensors = safetensors.numpy.load(artifact)
    change(spec, tensors)
    return safetensors.numpy.save(tensors, {METADATA_KEY: json.dumps(spec)})


def refused_or_proven(content: bytes) -> bool:
    """Whether `content` was refused; if it was not, it must reproduce its own golden rows."""
    try:
        codec = read_artifact(content)
    except CodecError:
        return True
    rows, context, labels = golden_rows(content)
    assert TOLERANCES[Precision.FP32].accepts(codec.decode(rows, context), labels)
    return False


@every_sample
def test_reading_gives_back_the_codec(sample: Sample) -> None:
    codec = read_artifact(sample.artifact)
    assert type(codec) is type(sample.codec)
    assert codec.header == sample.codec.header
    assert codec.config() == sample.codec.config()
    assert_decoded(codec, codec.decode(sample.rows), sample.codec.decode(sample.rows))
    assert write_artifact(codec, sample.rows[:4]) == sample.artifact


@every_sample
def test_golden_rows_are_kept(sample: Sample) -> None:
    rows, context, labels = golden_rows(sample.artifact)
    assert context is None
    np.testing.assert_array_equal(rows, sample.rows[:4])
    assert_decoded(sample.codec, labels, sample.codec.decode(sample.rows[:4]))


@small_samples
def test_every_truncation_is_refused(sample: Sample) -> None:
    artifact = sample.artifact
    for size in range(len(artifact)):
        with pytest.raises(CodecError):
            read_artifact(artifact[:size])


@small_samples
def test_trailing_bytes_are_refused(sample: Sample) -> None:
    for tail in (b"\0", b" " * 9):
        with pytest.raises(CodecError):
            read_artifact(sample.artifact + tail)


@small_samples
def test_no_bit_flip_does_worse_than_a_typed_error(sample: Sample) -> None:
    """A flip may pass (a codeword that no golden row uses): against that there is the digest."""
    artifact = sample.artifact
    refused = 0
    for place in range(len(artifact)):
        for bit in range(8):
            flipped = bytearray(artifact)
            flipped[place] ^= 1 << bit
            refused += refused_or_proven(bytes(flipped))
    assert refused > 4 * len(artifact)


def test_a_large_change_of_a_weight_is_refused() -> None:
    for name in ("decoder.0.weight", "decoder.1.weight", "decoder.1.bias"):

        def change(spec: Spec, tensors: Tensors, name: str = name) -> None:
            tensors[name] = tensors[name] + np.float16(1)

        with pytest.raises(GoldenRowsError):
            read_artifact(rewritten(SAMPLES["vqae"].artifact, change))


def test_weights_that_overflow_are_refused() -> None:
    def change(spec: Spec, tensors: Tensors) -> None:
        for name in ("decoder.0.weight", "decoder.1.weight", "codebooks"):
            shape = tensors[name].shape
            signs = np.resize(np.array([-1e38, 1e38], "<f4"), shape)
            tensors[name] = np.ascontiguousarray(signs)

    with pytest.raises(GoldenRowsError):
        read_artifact(rewritten(SAMPLES["vqae-fp32"].artifact, change))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["codebooks", "decoder.0.bias", "golden.labels"])
def test_tensors_that_are_not_finite_are_refused(name: str, value: float) -> None:
    def change(spec: Spec, tensors: Tensors) -> None:
        tensors[name].flat[0] = value

    with pytest.raises(CodecFormatError, match=name):
        read_artifact(rewritten(SAMPLES["vqae"].artifact, change))


WRONG_SPECS: dict[str, Spec] = {
    "version": {"format": 2},
    "no version": {"format": None},
    "codec": {"codec": "jpeg"},
    "codec type": {"codec": ["vqae"]},
    "classes": {"num_classes": 8},
    "no classes": {"num_classes": 0},
    "too many classes": {"num_classes": 2**21},
    "boolean classes": {"num_classes": True},
    "kind": {"label_kind": "scores"},
    "unknown key": {"colour": 1},
    "temperature": {"temperatures": [0.0, 1.0]},
    "temperature order": {"temperatures": [2.0, 1.0]},
    "temperature type": {"temperatures": "1"},
    "temperature integers": {"temperatures": [1, 1]},
    "no temperature": {"temperatures": None},
    "probabilities": {"label_kind": "probabilities"},
    "parameters": {"parameters": None},
}
WRONG_PARAMETERS: dict[str, Spec] = {
    "unknown": {"colour": 1},
    "codes": {"codes": 4},
    "no codes": {"codes": 0},
    "float codes": {"codes": 3.0},
    "too many codes": {"codes": 10**9},
    "codebook": {"codebook_size": 255},
    "large codebook": {"codebook_size": 2**17},
    "wide": {"codeword_width": 10**6},
    "hidden": {"hidden": [5]},
    "hidden type": {"hidden": "6"},
    "hidden boolean": {"hidden": [True]},
    "hidden too deep": {"hidden": [6] * 9},
    "precision": {"precision": "fp32"},
    "unknown precision": {"precision": "fp8"},
    "precision type": {"precision": 16},
}


@pytest.mark.parametrize("wrong", WRONG_SPECS.values(), ids=WRONG_SPECS)
def test_a_wrong_spec_is_refused(wrong: Spec) -> None:
    with pytest.raises(CodecFormatError):
        read_artifact(rewritten(SAMPLES["vqae"].artifact, lambda spec, _: spec.update(wrong)))


@pytest.mark.parametrize("wrong", WRONG_PARAMETERS.values(), ids=WRONG_PARAMETERS)
def test_wrong_parameters_are_refused(wrong: Spec) -> None:
    def change(spec: Spec, tensors: Tensors) -> None:
        spec["parameters"].update(wrong)

    with pytest.raises(CodecFormatError):
        read_artifact(rewritten(SAMPLES["vqae"].artifact, change))


@pytest.mark.parametrize("name", ["topk-spread", "raw-fp16"])
def test_unknown_parameters_of_other_codecs_are_refused(name: str) -> None:
    with pytest.raises(CodecFormatError, match="colour"):
        read_artifact(
            rewritten(SAMPLES[name].artifact, lambda spec, _: spec["parameters"].update(colour=1))
        )


@pytest.mark.parametrize("k", [0, 8, "3", None])
def test_a_wrong_k_is_refused(k: object) -> None:
    with pytest.raises(CodecFormatError):
        read_artifact(
            rewritten(
                SAMPLES["topk-spread"].artifact, lambda spec, _: spec["parameters"].update(k=k)
            )
        )


def _drop(name: str) -> Callable[[Spec, Tensors], None]:
    def change(spec: Spec, tensors: Tensors) -> None:
        del tensors[name]

    return change


def _put(name: str, value: Any) -> Callable[[Spec, Tensors], None]:
    return lambda _, tensors: tensors.update({name: value})


@pytest.mark.parametrize(
    "change",
    [
        _drop("codebooks"),
        _drop("golden.rows"),
        _drop("golden.labels"),
        _put("extra", np.zeros(1, "<f4")),
        _put("golden.rows", np.zeros((4, 4), np.uint8)),
        _put("golden.rows", np.zeros((0, 3), np.uint8)),
        _put("golden.rows", np.zeros((65, 3), np.uint8)),
        _put("golden.rows", np.zeros(3, np.uint8)),
        _put("golden.labels", np.zeros((4, 6), "<f4")),
        _put("golden.labels", np.zeros((4, 7), "<f8")),
        _put("codebooks", np.zeros((3, 256, 2), "<f4")),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change: Callable[[Spec, Tensors], None]) -> None:
    with pytest.raises(CodecFormatError):
        read_artifact(rewritten(SAMPLES["vqae"].artifact, change))


def test_a_golden_label_that_is_off_is_refused() -> None:
    def change(spec: Spec, tensors: Tensors) -> None:
        tensors["golden.labels"][1, 2] += 0.01

    with pytest.raises(GoldenRowsError, match=r"0\.01"):
        read_artifact(rewritten(SAMPLES["vqae"].artifact, change))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2**20 + 1) + b" " * (2**20 + 1),
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack("<Q", 40000) + b"[" * 40000,
        struct.pack("<Q", 33) + b'{"__metadata__":{"labelcast.codec"',
        b"PK\x03\x04" + b"\0" * 64,
    ],
    ids=["empty", "zeros", "huge", "oversize", "no spec", "list", "utf-8", "deep", "cut", "zip"],
)
def test_other_files_are_refused(content: bytes) -> None:
    with pytest.raises(CodecFormatError):
        read_artifact(content)


def test_a_shape_of_infinity_is_refused() -> None:
    spec = json.dumps({METADATA_KEY: "{}"})
    header = f'{{"__metadata__":{spec},"a":{{"dtype":"F32","shape":[Infinity]}}}}'.encode()
    with pytest.raises(CodecFormatError):
        read_artifact(struct.pack("<Q", len(header)) + header)


def test_an_artifact_has_one_to_64_golden_rows() -> None:
    sample = vqae(count=65)
    for count in (0, 65):
        with pytest.raises(CodecFormatError):
            write_artifact(sample.codec, sample.rows[:count])
    read_artifact(write_artifact(sample.codec, sample.rows[:64]))


def test_a_decoder_within_the_tolerance_is_accepted_and_none_beyond() -> None:
    expected = np.array([[10.0, -1.0]], np.float32)
    check_golden(expected + np.float32(1e-3), expected, "test")
    for strayed in (expected + np.float32(0.01), expected * np.float32("nan")):
        with pytest.raises(GoldenRowsError):
            check_golden(strayed, expected, "test")

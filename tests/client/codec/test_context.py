"""Codecs that are conditioned on context: decoded by hand, refused where the context is not one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from labelcast.codec import (
    Codec,
    CodecHeader,
    Context,
    ContextShape,
    LabelKind,
    Rows,
    VqaeCodec,
    VqaeShape,
    golden_rows,
    pack_codes,
    read_artifact,
    write_artifact,
)
from labelcast.context.rows import GEOMETRY_WIDTH
from labelcast.errors import CodecError, CodecFormatError, CodeRangeError, GoldenRowsError
from tests.client.codec.test_artifact import Spec, Tensors, rewritten
from tests.factories.codecs import (
    AT_ONE,
    CONDITIONED,
    NUM_CLASSES,
    SAMPLES,
    ConditionedSample,
    Sample,
    conditioned,
)
from tests.factories.decoded import assert_same_labels

every_conditioned = pytest.mark.parametrize("sample", CONDITIONED.values(), ids=CONDITIONED)
SAMPLE = CONDITIONED["hidden"]
LAYOUT = ContextShape(class_width=3)


def context_row(own: int, partner: int, geometry: Any) -> Rows:
    content = np.array([own, partner], "<u4").tobytes() + np.array(geometry, "<f4").tobytes()
    return np.frombuffer(content, np.uint8)[None]


def test_a_conditioned_codec_decodes_as_worked_out_by_hand() -> None:
    shape = VqaeShape(1, 2, 1, (), context=ContextShape(1))
    geometry = np.arange(GEOMETRY_WIDTH) / 8 - 1
    geometry[-1] = 0.25
    # Codeword; embeddings of sample, partner and their mixture; geometry.
    first = [1, 10, 100, 1000, *[0] * GEOMETRY_WIDTH]
    second = [0, 0, 0, 0, *range(1, GEOMETRY_WIDTH + 1)]
    weight, bias = np.array([first, second], "<f2"), np.array([0.5, -1], "<f2")
    codec = VqaeCodec(
        CodecHeader(2, LabelKind.LOGITS, AT_ONE),
        shape,
        np.array([[[1], [-3]]], "<f2"),
        [(weight, bias)],
        np.array([[0.5], [2]], "<f2"),
    )
    row, context = pack_codes(np.array([[1]]), bits=1), context_row(1, 0, geometry)
    assert codec.row_stride == 1
    assert codec.context_stride == 2 * 4 + 17 * 4
    mixture = 0.75 * 2 + 0.25 * 0.5
    shown = sum(number * value for number, value in enumerate(geometry.tolist(), start=1))
    expected = [-3 + 10 * 2 + 100 * 0.5 + 1000 * mixture + 0.5, shown - 1]
    assert codec.decode(row, context).tolist() == [expected]


@every_conditioned
def test_rows_decode_alike_alone_together_and_read_only(sample: ConditionedSample) -> None:
    together = sample.codec.decode(sample.rows, sample.context)
    assert together.shape == (9, NUM_CLASSES)
    assert np.ptp(together, axis=0).min() > 0
    frozen = sample.context.copy()
    frozen.flags.writeable = False
    for number in range(9):
        part = slice(number, number + 1)
        alone = sample.codec.decode(sample.rows[part], frozen[part])
        assert_same_labels(alone, together[part])
    assert sample.codec.decode(sample.rows[:0], sample.context[:0]).shape == (0, NUM_CLASSES)


def test_every_part_of_a_context_changes_the_label() -> None:
    known = LAYOUT.unpack(SAMPLE.context, NUM_CLASSES)
    before = SAMPLE.codec.decode(SAMPLE.rows, SAMPLE.context)
    for side in range(2):
        classes = known.classes.copy()
        classes[:, side] = (classes[:, side] + 1) % NUM_CLASSES
        changed = replace(known, classes=classes).pack()
        assert (SAMPLE.codec.decode(SAMPLE.rows, changed) != before).any(axis=1).all()
    for column in range(GEOMETRY_WIDTH):
        geometry = known.geometry.copy()
        geometry[:, column] += np.float32(0.5)
        changed = replace(known, geometry=geometry).pack()
        assert (SAMPLE.codec.decode(SAMPLE.rows, changed) != before).any(axis=1).all()


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SAMPLE.codec.decode(SAMPLE.rows, SAMPLE.context)
    monkeypatch.setattr("labelcast.codec.vqae._BLOCK_ROWS", 2)
    in_blocks = SAMPLE.codec.decode(SAMPLE.rows, SAMPLE.context)
    assert_same_labels(in_blocks, whole)


@every_conditioned
def test_a_missing_context_is_refused_with_the_way_to_get_one(sample: ConditionedSample) -> None:
    with pytest.raises(CodecFormatError, match=r"label_set\.decoder\(\)"):
        sample.codec.decode(sample.rows)


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_context_that_nobody_asked_for_is_refused(sample: Sample) -> None:
    assert sample.codec.context_stride == 0
    for width in (0, SAMPLE.codec.context_stride):
        unwanted = np.zeros((len(sample.rows), width), np.uint8)
        with pytest.raises(CodecFormatError):
            sample.codec.decode(sample.rows, unwanted)


@pytest.mark.parametrize(
    "wrong",
    [
        SAMPLE.context[:-1],
        np.repeat(SAMPLE.context, 2, axis=0),
        SAMPLE.context[:, :-1],
        np.pad(SAMPLE.context, ((0, 0), (0, 1))),
        SAMPLE.context[0],
        SAMPLE.context[None],
        SAMPLE.context.astype(np.int32),
        SAMPLE.context.view(np.int8),
    ],
    ids=["fewer", "more", "narrow", "wide", "flat", "deep", "int32", "int8"],
)
def test_context_rows_of_another_count_shape_or_type_are_refused(wrong: Any) -> None:
    with pytest.raises(CodecFormatError):
        SAMPLE.codec.decode(SAMPLE.rows, wrong)


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("number", [NUM_CLASSES, 2**31, 2**32 - 1])
def test_a_class_that_there_is_not_is_refused(side: int, number: int) -> None:
    context = SAMPLE.context.copy()
    context[5].view("<u4")[side] = number
    with pytest.raises(CodeRangeError, match=f"class {number} "):
        SAMPLE.codec.decode(SAMPLE.rows, context)


@pytest.mark.parametrize("column", [0, GEOMETRY_WIDTH - 1])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 4.001, -4.001, 1e30])
def test_geometry_that_no_policy_draws_is_refused(column: int, value: float) -> None:
    context = SAMPLE.context.copy()
    context[5, 8:].view("<f4")[column] = value
    with pytest.raises(CodecFormatError, match="no policy draws"):
        SAMPLE.codec.decode(SAMPLE.rows, context)


@pytest.mark.parametrize("value", [4.0, -4.0])
def test_half_a_turn_is_still_a_rotation(value: float) -> None:
    context = SAMPLE.context.copy()
    context[5, 8:].view("<f4")[4] = value
    assert np.isfinite(SAMPLE.codec.decode(SAMPLE.rows, context)).all()


def test_any_bytes_decode_to_finite_labels_or_a_typed_error() -> None:
    generator = np.random.default_rng(0)
    decoded = 0
    for _ in range(300):
        context = SAMPLE.context[:1].copy()
        context[0, generator.integers(context.shape[1])] = generator.integers(256)
        try:
            labels = SAMPLE.codec.decode(SAMPLE.rows[:1], context)
        except CodecError:
            continue
        assert np.isfinite(labels).all()
        decoded += 1
    assert 30 < decoded < 270


def test_packing_is_undone_by_unpacking() -> None:
    generator = np.random.default_rng(1)
    layout = ContextShape(class_width=3)
    context = Context(
        generator.integers(0, 2**20, (4, 2)),
        generator.uniform(-4, 4, (4, GEOMETRY_WIDTH)).astype(np.float32),
    )
    packed = context.pack()
    assert packed.shape == (4, layout.row_stride)
    assert packed.dtype == np.uint8
    again = layout.unpack(packed, 2**20)
    for name in ("classes", "geometry"):
        np.testing.assert_array_equal(getattr(again, name), getattr(context, name))
    for other in (packed[:, :-1], np.pad(packed, ((0, 0), (0, 1)))):
        with pytest.raises(CodecFormatError):
            layout.unpack(other, 2**20)


@every_conditioned
def test_an_artifact_gives_back_the_codec_and_its_golden_context(
    sample: ConditionedSample,
) -> None:
    codec: Codec = read_artifact(sample.artifact)
    assert codec.config() == sample.codec.config()
    assert codec.context_stride == sample.codec.context_stride
    expected = sample.codec.decode(sample.rows, sample.context)
    assert_same_labels(codec.decode(sample.rows, sample.context), expected)
    rows, context, labels = golden_rows(sample.artifact)
    assert context is not None
    np.testing.assert_array_equal(rows, sample.rows[:4])
    np.testing.assert_array_equal(context, sample.context[:4])
    assert_same_labels(labels, expected[:4])
    assert write_artifact(codec, rows, context) == sample.artifact


def test_an_artifact_is_not_written_without_the_context_of_its_golden_rows() -> None:
    for context in (None, SAMPLE.context[:3]):
        with pytest.raises(CodecFormatError):
            write_artifact(SAMPLE.codec, SAMPLE.rows[:4], context)


def _drop(spec: Spec, tensors: Tensors) -> None:
    del tensors["golden.context"]


def _without_classes(spec: Spec, tensors: Tensors) -> None:
    del tensors["context.classes"]


def _unconditioned(spec: Spec, tensors: Tensors) -> None:
    del spec["parameters"]["context"]


def _put(name: str, value: Any) -> Callable[[Spec, Tensors], None]:
    return lambda _, tensors: tensors.update({name: value})


def _parameter(value: object) -> Callable[[Spec, Tensors], None]:
    return lambda spec, _: spec["parameters"].update(context=value)


WRONG_CONTEXTS: dict[str, Callable[[Spec, Tensors], None]] = {
    "missing": _drop,
    "scalar": _put("golden.context", np.array(0, np.uint8)),
    "flat": _put("golden.context", np.zeros(4, np.uint8)),
    "deep": _put("golden.context", np.zeros((4, 76, 1), np.uint8)),
    "fewer": _put("golden.context", np.zeros((3, 76), np.uint8)),
    "more": _put("golden.context", np.zeros((5, 76), np.uint8)),
    "narrow": _put("golden.context", np.zeros((4, 75), np.uint8)),
    "empty": _put("golden.context", np.zeros((4, 0), np.uint8)),
    "floats": _put("golden.context", np.zeros((4, 76), "<f4")),
    "NaN": _put("golden.context", np.full((4, 76), 0xFF, np.uint8)),
    "no embeddings": _without_classes,
    "few embeddings": _put("context.classes", np.zeros((NUM_CLASSES - 1, 3), "<f2")),
    "narrow embeddings": _put("context.classes", np.zeros((NUM_CLASSES, 2), "<f2")),
    "wide embeddings": _put("context.classes", np.zeros((NUM_CLASSES, 3), "<f4")),
    "infinite embeddings": _put("context.classes", np.full((NUM_CLASSES, 3), np.inf, "<f2")),
    "not declared": _unconditioned,
    "null": _parameter(None),
    "list": _parameter([3, 0]),
    "no keys": _parameter({}),
    "unknown key": _parameter({"class_width": 3, "colour": 1}),
    "no width": _parameter({"class_width": 0}),
    "another width": _parameter({"class_width": 4}),
    "huge width": _parameter({"class_width": 1025}),
    "boolean width": _parameter({"class_width": True}),
}


@pytest.mark.parametrize("change", WRONG_CONTEXTS.values(), ids=WRONG_CONTEXTS)
def test_artifacts_whose_context_does_not_fit_are_refused(
    change: Callable[[Spec, Tensors], None],
) -> None:
    with pytest.raises(CodecError):
        read_artifact(rewritten(SAMPLE.artifact, change))


@pytest.mark.parametrize("shape", [(), (4,), (4, 0), (4, 76)])
@pytest.mark.parametrize("name", ["raw-fp16", "topk-spread", "vqae"])
def test_a_golden_context_of_a_codec_without_one_is_refused(
    name: str, shape: tuple[int, ...]
) -> None:
    change = _put("golden.context", np.zeros(shape, np.uint8))
    with pytest.raises(CodecFormatError):
        read_artifact(rewritten(SAMPLES[name].artifact, change))


def test_a_changed_embedding_or_golden_context_is_found() -> None:
    def other_classes(spec: Spec, tensors: Tensors) -> None:
        tensors["context.classes"] = tensors["context.classes"] + np.float16(1)

    def other_context(spec: Spec, tensors: Tensors) -> None:
        tensors["golden.context"] = np.ascontiguousarray(tensors["golden.context"][::-1])

    for change in (other_classes, other_context):
        with pytest.raises(GoldenRowsError):
            read_artifact(rewritten(SAMPLE.artifact, change))


def test_every_truncation_of_a_conditioned_artifact_is_refused() -> None:
    artifact = conditioned(codebook_size=5, class_width=1).artifact
    for size in range(0, len(artifact), 3):
        with pytest.raises(CodecError):
            read_artifact(artifact[:size])


def test_codes_may_be_left_out_only_under_a_context() -> None:
    config = SAMPLE.codec.config() | {"codes": 0}
    shape = VqaeShape.from_config(config)
    assert (shape.codes, shape.row_stride) == (0, 0)
    del config["context"]
    with pytest.raises(CodecFormatError, match="codes"):
        VqaeShape.from_config(config)

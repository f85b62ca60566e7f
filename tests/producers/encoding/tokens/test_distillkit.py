"""DistillKit's layout: our rows in its Parquet are read as its own, and give the same labels."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from labelcast.codec import read_artifact, write_artifact
from labelcast.codec.sparse import MissingMass
from labelcast.codec.sparse.distillkit import DistillKitCodec, ResidualBin, Settings
from labelcast.codec.topk import Recovery
from labelcast.errors import CodecFormatError, CodeRangeError, LabelValueError
from labelcast_producers.encoding.tokens.distillkit import DistillKitEncoder, recommended
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.output.top_k import TopKSource
from labelcast_producers.formats.source import ImportOptions
from tests.factories.token_rows import distillkit, encode, header_of, logits_of, softmax
from tests.producers.formats.writers.distillkit import Row, write_rows

CHANGES: dict[str, dict[str, Any]] = {
    "recommended": {},
    "exact": {"exact_k": 20, "polynomial_terms": ()},
    "delta": {"delta_encoding": True, "exact_dtype": "float32"},
    "half": {"term_dtype": "float16", "polynomial_terms": (0, 1, "sqrt"), "normalize_t": True},
    "bins": {
        "polynomial_terms": (0, 1),
        "residual_bins": (ResidualBin("float32", 8, 6), ResidualBin("bfloat16", 1, 3)),
    },
    "bins-alone": {
        "polynomial_terms": (),
        "exact_dtype": "float64",
        "residual_bins": (ResidualBin("float16", 6, 12),),
    },
}


def encoder_of(change: dict[str, Any]) -> DistillKitEncoder:
    settings = replace(recommended(50), **({"k": 20, "exact_k": 8} | change))
    codec = DistillKitCodec(header_of(50), settings, MissingMass.RENORMALISE)
    return DistillKitEncoder(codec)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_rows_in_distillkits_files_give_the_same_labels(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    encoder = encoder_of(change)
    rows = encode(encoder, logits_of(12, 50))
    settings = encoder.codec.settings
    cut = settings.value_bytes
    written: Row = {
        "input_ids": list(range(12)),
        "compressed_logprobs": rows[:, :cut].tolist(),
        "bytepacked_indices": rows[:, cut:].tolist(),
        "messages": "[]",
    }
    write_rows(tmp_path, [written])
    (tmp_path / "compression_config.yaml").write_text(
        yaml.safe_dump({"d": 50} | settings.as_json())
    )
    source = Import.open(tmp_path, ImportOptions(recovery=Recovery.RENORMALISE)).source
    assert isinstance(source, TopKSource)
    ids, probabilities = source.read_top_k(source.parts[0])
    labels = encoder.codec.sparse(rows)
    np.testing.assert_array_equal(ids, labels.ids)
    np.testing.assert_allclose(probabilities, labels.probabilities, rtol=1e-6)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_labels_are_nearly_the_teachers(change: dict[str, Any]) -> None:
    encoder, logits = encoder_of(change), logits_of(30, 50)
    exact = softmax(logits)
    labels = encoder.codec.sparse(encode(encoder, logits))
    named = np.take_along_axis(exact, labels.ids, axis=1)
    assert (np.diff(named, axis=1) <= 0).all()
    np.testing.assert_allclose(
        labels.probabilities, named / named.sum(axis=1, keepdims=True), atol=0.02
    )


def test_the_recommended_form_has_distillkits_size() -> None:
    for vocabulary, size in ((49_152, 312), (151_936, 344)):
        settings = recommended(vocabulary)
        codec = DistillKitCodec(header_of(vocabulary), settings, MissingMass.RENORMALISE)
        assert codec.row_stride == size


def test_an_artifact_keeps_all_settings() -> None:
    for change in CHANGES.values():
        encoder = encoder_of(change)
        rows = encode(encoder, logits_of(3, 50))
        codec = read_artifact(write_artifact(encoder.codec, rows))
        assert isinstance(codec, DistillKitCodec)
        assert codec.settings == encoder.codec.settings
        np.testing.assert_array_equal(codec.decode(rows), encoder.codec.decode(rows))


@pytest.mark.parametrize("missing", MissingMass)
def test_each_rule_gives_the_others_what_it_says(missing: MissingMass) -> None:
    encoder, logits = distillkit(50, missing), (logits_of(20, 50) / 4).astype(np.float32)
    labels = encoder.codec.sparse(encode(encoder, logits))
    total = labels.dense(50).sum(axis=1)
    np.testing.assert_allclose(total[0], 1 if missing is not MissingMass.ZERO else total[0])
    assert (labels.rest > 0).all() == missing.is_kept
    assert labels.lumped == (missing is MissingMass.LUMPED)


def test_a_fit_that_sums_to_too_much_is_refused_and_renormalised() -> None:
    budget: dict[str, Any] = {
        "exact_k": 1,
        "polynomial_terms": (0, 1, "sqrt"),
    }
    ranks = np.arange(1, 51)
    logits = np.tile(-3.0 * np.log(ranks), (1, 1)).astype(np.float32)
    settings = replace(recommended(50), k=50, **budget)
    for missing in (MissingMass.ZERO, MissingMass.RENORMALISE):
        encoder = DistillKitEncoder(DistillKitCodec(header_of(50), settings, missing))
        if missing is MissingMass.ZERO:
            with pytest.raises(
                LabelValueError, match="take the rule renormalise, as DistillKit's trainer does"
            ):
                encode(encoder, logits)
        else:
            np.testing.assert_allclose(encoder.codec.decode(encode(encoder, logits)).sum(), 1)


def test_fewer_tokens_than_k_are_refused_and_a_smaller_k_keeps_them() -> None:
    logits = logits_of(2, 50)
    logits[1, 10:] = -np.inf
    with pytest.raises(LabelValueError, match=r"sample 1 fewer .*; choose a smaller k, or another"):
        encode(distillkit(), logits)
    encoder = encoder_of({"k": 10, "exact_k": 10, "polynomial_terms": ()})
    np.testing.assert_array_equal(encoder.codec.decode(encode(encoder, logits))[1, 10:], 0)


def test_rows_that_no_encoder_writes_are_refused() -> None:
    encoder = encoder_of({"k": 3, "exact_k": 3, "exact_dtype": "float32", "polynomial_terms": ()})
    codec, rows = encoder.codec, encode(encoder, logits_of(1, 50))

    def with_bytes(at: int, content: bytes) -> Any:
        damaged = rows.copy()
        damaged[0, at : at + len(content)] = list(content)
        return damaged

    for number, error in ((np.nan, "not finite"), (np.inf, "not finite"), (200, "far above 0")):
        with pytest.raises(LabelValueError, match=error):
            codec.check_rows(with_bytes(0, np.float32(number).tobytes()))
    with pytest.raises(LabelValueError, match="to none"):
        codec.check_rows(with_bytes(0, np.full(3, -1e9, np.float32).tobytes()))
    # Three IDs of 6 bits, and 6 bits of padding.
    for content, wrong in ((b"\xff", CodeRangeError), (b"\x00\x00\x00", CodecFormatError)):
        with pytest.raises(wrong):
            codec.check_rows(with_bytes(12, content))
    with pytest.raises(CodecFormatError, match="padding"):
        codec.check_rows(with_bytes(14, bytes([rows[0, 14] | 1])))


GOOD = recommended(50).as_json() | {"k": 20, "missing": "zero"}


@pytest.mark.parametrize(
    "change",
    [
        {"k": 51},
        {"exact_k": 21},
        {"exact_dtype": "int8"},
        {"polynomial_terms": []},
        {"polynomial_terms": None},
        {"polynomial_terms": ["log"]},
        {"polynomial_terms": [64]},
        {"polynomial_terms": [[]]},
        {"residual_bins": [{"scale_dtype": "float16"}]},
        {"residual_bins": [{"scale_dtype": "float16", "element_bits": 33, "num_elements": 1}]},
        {"residual_bins": [{"scale_dtype": "float16", "element_bits": 3, "num_elements": 5}]},
        {"delta_encoding": 1},
        {"error_diffusion": False},
        {"missing": "guess"},
    ],
)
def test_impossible_parameters_are_refused(change: dict[str, Any]) -> None:
    DistillKitCodec.tensor_specs(header_of(50), GOOD)
    with pytest.raises(CodecFormatError):
        DistillKitCodec.tensor_specs(header_of(50), GOOD | change)


def test_settings_are_of_the_vocabulary() -> None:
    settings = Settings.from_json(50, {name: GOOD[name] for name in Settings.json_keys()})
    with pytest.raises(CodecFormatError, match="of 50 classes, not"):
        DistillKitCodec(header_of(51), settings, MissingMass.ZERO)

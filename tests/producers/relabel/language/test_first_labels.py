"""An encoder that destroys labels is stopped in the first batches; others are not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from labelcast.codec import CodecHeader, LabelKind, Rows, TemperatureRange
from labelcast.codec.latent import Head, HeadDtype, HeadSpec, LatentCodec, head_digest
from labelcast.codec.sparse import PackedTopKCodec
from labelcast.codec.sparse.missing_mass import MissingMass
from labelcast.errors import LabelValueError
from labelcast_producers.encoding.tokens.base import Positions, SampleIds, TokenEncoder
from labelcast_producers.encoding.tokens.hidden import HiddenEncoder
from labelcast_producers.encoding.tokens.packed_top_k import PackedTopKEncoder
from labelcast_producers.encoding.tokens.sampled import SampledEncoder
from labelcast_producers.relabel.language.first_labels import WATCHED, FirstLabels
from labelcast_producers.relabel.language.labelling import encode_batch
from labelcast_producers.relabel.language.teachers.predictions import StatePredictions

V, D, T = 300, 32, 600
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 0.6, (V, D)).astype("<f4")
ROWS = WEIGHTS.view(np.uint8)
SPEC = HeadSpec(digest=head_digest(V, D, HeadDtype.FP32, [ROWS]), width=D, dtype=HeadDtype.FP32)
HEAD = Head(SPEC, [ROWS])
STATES = RNG.normal(0, 1, (T, D)).astype(np.float32)
PROBABILITIES = CodecHeader(V, LabelKind.PROBABILITIES, TemperatureRange(1, 1))


class Mixing(HiddenEncoder):
    """Gives each row to another token."""

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        return np.roll(super()._encode(values, sample_ids, positions), 1, axis=0)


class Foreign(HiddenEncoder):
    """Encodes with other scales than its codec decodes with."""

    def _encode(
        self, values: NDArray[np.float32], sample_ids: SampleIds, positions: Positions
    ) -> Rows:
        ours = HiddenEncoder.calibrated(V, STATES)
        return ours.encode(values, sample_ids=sample_ids, positions=positions)


def run(encoder: TokenEncoder, first: FirstLabels) -> None:
    if isinstance(encoder.codec, LatentCodec):
        encoder.codec = encoder.codec.with_head(HEAD)
    encode_batch(
        encoder,
        StatePredictions(STATES, HEAD),
        sample_ids=np.zeros(T, dtype=np.uint64),
        positions=np.arange(T, dtype=np.uint32),
        following=RNG.integers(-1, V, T),
        first=first,
    )


def test_rows_of_other_tokens_stop_the_run() -> None:
    with pytest.raises(LabelValueError, match="choose another codec, such as hidden:fp16"):
        run(Mixing.calibrated(V, STATES), FirstLabels())
    run(HiddenEncoder.calibrated(V, STATES), FirstLabels())


def test_scales_of_another_model_stop_the_run() -> None:
    of_another = STATES[:, ::-1] * np.linspace(0.1, 9, D, dtype=np.float32)
    with pytest.raises(LabelValueError, match="the codec destroys these labels"):
        run(Foreign.calibrated(V, of_another), FirstLabels(of_states=True))
    run(HiddenEncoder.calibrated(V, of_another), FirstLabels(of_states=True))


def test_codecs_that_draw_or_cut_off_tokens_pass() -> None:
    for missing in MissingMass:
        run(PackedTopKEncoder(PackedTopKCodec(PROBABILITIES, 16, 4, missing)), FirstLabels())
    for key in range(20):
        run(SampledEncoder.drawing(PROBABILITIES, key=key), FirstLabels())


def test_so_many_labels_are_watched_and_no_more() -> None:
    first = FirstLabels()
    for _ in range(3):
        run(HiddenEncoder.calibrated(V, STATES), first)
    assert first.done
    assert WATCHED <= first.watched <= WATCHED + T

"""A tiny causal LM that is sure of what follows, text of its own making, and labels of that text.

model = tiny_model()
texts = written_by(model, lengths=[20, 7])
label_set = label_texts(tmp_path, model, texts)
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelcast.codec import CodecHeader, LabelKind, Precision, RawCodec
from labelcast.label_set.language import NextTokenMeter
from labelcast.label_set.language.next_token import REPORT_KEY
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.torch.tokens.data.canary import log_probabilities_of
from labelcast_producers.encoding.sequence_set import write_sequence_set
from tests.factories.sequence_sets import VOCABULARY, describe

WIDTH = 32
# Makes logits of a few nats out of an untrained model's.
_SURENESS = 40.0


def tiny_model(key: int = 0, *, sureness: float = _SURENESS, vocabulary: int = VOCABULARY) -> Any:
    """An untrained Llama of two layers, whose head is scaled."""
    # Whoever collects tests would import it for seconds.
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(key)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(sureness)
    return model


def written_by(model: Any, lengths: Sequence[int], *, key: int = 0) -> list[NDArray[np.uint32]]:
    """Texts drawn from a model's own predictions: uint32, shape (length,) each."""
    generator = torch.Generator().manual_seed(key)
    ids = torch.randint(0, VOCABULARY, (len(lengths), 1), generator=generator)
    with torch.no_grad():
        while ids.shape[1] < max(lengths):
            likely = torch.softmax(model(ids).logits[:, -1], dim=1)
            ids = torch.cat([ids, torch.multinomial(likely, 1, generator=generator)], dim=1)
    return [row[:n].numpy().astype(np.uint32) for row, n in zip(ids, lengths, strict=True)]


def logits_of(model: Any, text: NDArray[np.uint32]) -> Tensor:
    """Logits of every position of a text on its own: float32, shape (n, V)."""
    with torch.no_grad():
        logits: Tensor = model(torch.from_numpy(text.astype(np.int64))[None]).logits[0]
    return logits


def label_texts(
    directory: Path,
    model: Any,
    texts: Sequence[NDArray[np.uint32]],
    *,
    labelled: NDArray[np.bool_] | None = None,
) -> LabelSetDirectory:
    """The label set of texts whose sample IDs are 10, 13, 16, …: every logit, in fp32."""
    codec = RawCodec(CodecHeader(VOCABULARY, LabelKind.LOGITS, None), Precision.FP32)
    logits = torch.cat([logits_of(model, text) for text in texts]).numpy()
    rows, meter, first = logits.view(np.uint8), NextTokenMeter(), 0
    for text in texts:
        following = text[1:].astype(np.int64)
        own = rows[first : first + len(following)]
        meter.add(log_probabilities_of(codec, own, following))
        first += len(text)
    figure = meter.figure()
    assert figure is not None
    kept = rows if labelled is None else rows[labelled]
    return write_sequence_set(
        describe(texts, labelled=labelled),
        codec,
        [kept],
        directory,
        report={REPORT_KEY: figure.as_json()},
    )

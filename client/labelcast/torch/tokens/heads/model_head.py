"""A model's head: the layer that makes logits of states, and what its configuration adds to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from labelcast.codec.latent import Head, HeadDtype, HeadSpec, head_digest
from labelcast.errors import InvalidRequestError

_DTYPES = {torch.float16: HeadDtype.FP16, torch.bfloat16: HeadDtype.BF16}
# What families of models call the factor of their logits, or its inverse.
_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling",)
_SOFTCAPS = ("final_logit_softcapping",)


@dataclass(frozen=True, slots=True)
class LogitRule:
    """What becomes of a head's products, as `HeadSpec` has it.

    Attributes:
        scale: factor of the products.
        softcap: bound of the logits; None for none.
    """

    scale: float = 1.0
    softcap: float | None = None


def logit_rule(config: Mapping[str, Any]) -> LogitRule:
    """Read the rule from a model's configuration; what it overlooks shows in the logits.

    Args:
        config: settings of the text model, of `transformers`' names.
    """
    scale = math.prod(_numbers(config, _FACTORS)) / math.prod(_numbers(config, _DIVISORS))
    return LogitRule(scale, next(iter(_numbers(config, _SOFTCAPS)), None))


def model_head(model: Any, vocabulary: int) -> Head:
    """The head of a causal language model, for label sets that only name their teacher's.

    Args:
        model: of `transformers`, in the type in which it labelled: others have other values.
        vocabulary: tokens, V: `label_set.contract.num_classes`. Further rows are padding.

    Raises:
        InvalidRequestError: the model's logits do not come from one linear layer of V rows at
            least.
    """
    layer = model.get_output_embeddings()
    if not isinstance(layer, nn.Linear) or layer.out_features < vocabulary:
        raise InvalidRequestError(
            f"the head of {type(model).__name__} is no linear layer of {vocabulary} tokens or more;"
            " give the model that made the labels"
        )
    return head_of(layer, vocabulary, logit_rule(model.config.get_text_config().to_dict()))


def head_of(layer: nn.Linear, vocabulary: int, rule: LogitRule) -> Head:
    """The rows of a head that belong to tokens, where possible without a copy.

    Args:
        layer: the model's last layer.
        vocabulary: tokens, V; further rows of the layer are padding.
        rule: what becomes of its products.
    """
    values = layer.weight.detach()[:vocabulary]
    if layer.bias is not None:
        values = torch.cat([values, layer.bias.detach()[:vocabulary, None]], dim=1)
    dtype = _DTYPES.get(values.dtype, HeadDtype.FP32)
    rows = _bytes_of(values if values.dtype in _DTYPES else values.float())
    has_bias = layer.bias is not None
    spec = HeadSpec(
        digest=head_digest(vocabulary, layer.in_features, dtype, [rows], bias=has_bias),
        width=layer.in_features,
        dtype=dtype,
        bias=has_bias,
        scale=rule.scale,
        softcap=rule.softcap,
    )
    return Head(spec, [rows])


def _bytes_of(values: Tensor) -> Any:
    return values.cpu().contiguous().view(torch.uint8).numpy()


def _numbers(config: Mapping[str, Any], names: tuple[str, ...]) -> list[float]:
    """The settings of these names that are numbers: 0 and words stand for none."""
    found = (config.get(name) for name in names)
    return [float(each) for each in found if isinstance(each, int | float) and each]

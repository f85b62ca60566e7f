"""Causal language models: `transformers` directories, GGUF files, and torch modules by name."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from labelcast.errors import InvalidRequestError
from labelcast.torch.tokens.heads.model_head import LogitRule, logit_rule
from labelcast_producers.relabel.import_path import load_object
from labelcast_producers.relabel.language.quiet_transformers import quiet_transformers

_HEAD = "lm_head"


@dataclass(frozen=True, eq=False, slots=True)
class CausalModel:
    """A model that predicts each token from those before it.

    Attributes:
        module: token IDs (B, n) → logits (B, n, W), or something that holds them as `logits`.
        name: name to show.
        head: layer that makes logits of states; None where it is not known.
        rule: what becomes of its products.
        positions: most tokens of a sequence; None where it is not known.
        settings: what decides its predictions besides its weights, as far as it says.
    """

    module: nn.Module
    name: str
    head: nn.Linear | None
    rule: LogitRule = field(default_factory=LogitRule)
    positions: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def load_model(where: str, *, arguments: str | None = None, dtype: str = "auto") -> CausalModel:
    """Read a model from this machine; nothing is downloaded and no code of a model is run.

    Args:
        where: directory of a `transformers` model with safetensors, a .gguf file, or an import
            path package.module:name of a torch module, or of a function that returns one.
        arguments: JSON object of keyword arguments for such a function.
        dtype: type to compute in, such as "float32"; "auto" takes that of the stored weights,
            and float32 for GGUF.

    Raises:
        InvalidRequestError: it is not there, damaged, incomplete, or no causal language model.
    """
    path = Path(where)
    if path.exists():
        return _from_files(path, dtype)
    module_name, colon, name = where.partition(":")
    if not colon or "/" in module_name or not name:
        raise InvalidRequestError(
            f"{where!r} is not there; give a directory of a transformers model, a .gguf file, or"
            " package.module:name"
        )
    return model_of(load_object(where, arguments), where)


def model_of(module: object, name: str) -> CausalModel:
    """Describe a torch module: one of `transformers`, or any whose head is called `lm_head`.

    Raises:
        InvalidRequestError: it is no torch module.
    """
    if not isinstance(module, nn.Module):
        raise InvalidRequestError(
            f"the model {name} is of type {type(module).__name__}, not torch.nn.Module; name a"
            " module, or a function that returns one"
        )
    # A model of transformers exists only where that has been imported.
    transformers: Any = sys.modules.get("transformers")
    if transformers is not None and isinstance(module, transformers.PreTrainedModel):
        return _of_transformers(module, name)
    # Under all its names: a wrapper may name the layer of what it wraps.
    head = dict(module.named_modules(remove_duplicate=False)).get(_HEAD)
    return CausalModel(module.eval(), name, head if isinstance(head, nn.Linear) else None)


def _from_files(path: Path, dtype: str) -> CausalModel:
    if path.is_file() and path.suffix != ".gguf":
        raise InvalidRequestError(f"{path} is no GGUF file; give the directory of a model")
    if path.is_dir() and not any(path.glob("*.safetensors")):
        raise InvalidRequestError(
            f"{path} has no .safetensors file; save the model with"
            " save_pretrained(…, safe_serialization=True)"
        )
    of_file: dict[str, Any] = {"gguf_file": path.name} if path.is_file() else {}
    with quiet_transformers(path) as transformers:
        module, found = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent if path.is_file() else path,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32 if dtype == "auto" and of_file else dtype,
            **of_file,
        )
    lacking = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if lacking:
        raise InvalidRequestError(
            f"{path} lacks {', '.join(lacking[:3])}, which would be drawn at random: it is no whole"
            " causal language model; save the model with its head"
        )
    return _of_transformers(module, path.name)


def _of_transformers(module: Any, name: str) -> CausalModel:
    config = module.config.get_text_config()
    settings = config.to_dict()
    module.config.use_cache = False
    head = module.get_output_embeddings()
    if head is None:
        raise InvalidRequestError(
            f"the model {name} ({type(module).__name__}) has no lm_head: it gives states, not"
            " predictions; save the model with its head"
        )
    # GPT-2 has it under another name, which the attribute finds and the dictionary does not.
    positions = getattr(config, "max_position_embeddings", None)
    return CausalModel(
        module.eval(),
        name,
        head if isinstance(head, nn.Linear) else None,
        logit_rule(settings),
        positions if isinstance(positions, int) and positions > 0 else None,
        # How it was saved and by which version does not matter.
        {key: value for key, value in settings.items() if "version" not in key and key[0] != "_"},
    )

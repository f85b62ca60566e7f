"""Small models of transformers on disk, made once: the library takes seconds to import."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

TEXT = "the quick brown fox jumps over the lazy dog, again and again and again. "


def made_tokenizer() -> Any:
    """Byte-level BPE of 297 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT * 3], trainer)
    return tokenizer


@pytest.fixture(scope="session")
def model_directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Directories by the name of their model's family."""
    import torch
    import transformers
    from transformers.utils import logging

    # Configurations of small vocabularies are warned about, for their default tokens.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.manual_seed(0)
    small = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 1}
    llama = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    of_gpt2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
    made = {
        "llama": transformers.LlamaForCausalLM(transformers.LlamaConfig(**small, **llama)),
        "gpt2": transformers.GPT2LMHeadModel(transformers.GPT2Config(**small, **of_gpt2)),
        # Tied, with a soft cap that its logits come near to.
        "gemma2": transformers.Gemma2ForCausalLM(
            transformers.Gemma2Config(**small, **llama, head_dim=8, final_logit_softcapping=3.0)
        ),
        "granite": transformers.GraniteForCausalLM(
            transformers.GraniteConfig(**small, **llama, logits_scaling=2.5)
        ),
        "cohere": transformers.CohereForCausalLM(
            transformers.CohereConfig(**small, **llama, logit_scale=0.25)
        ),
        # Its head has a bias.
        "phi": transformers.PhiForCausalLM(transformers.PhiConfig(**small, **llama)),
        "bare": transformers.LlamaModel(transformers.LlamaConfig(**small, **llama)),
    }
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made_tokenizer(), bos_token="<s>", eos_token="</s>"
    )
    directories = {}
    for name, model in made.items():
        if name == "phi":
            torch.nn.init.normal_(model.lm_head.bias)
        directories[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(directories[name])
        fast.save_pretrained(directories[name])
    return directories


@pytest.fixture(scope="session")
def gguf_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama in a GGUF file."""
    import json

    from gguf import GGUFWriter

    tokenizer = json.loads(made_tokenizer().to_str())["model"]
    names = sorted(tokenizer["vocab"], key=tokenizer["vocab"].get)
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(names))
    writer.add_rope_dimension_count(8)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(names)
    writer.add_token_types([3, 3] + [1] * (len(names) - 2))
    writer.add_token_merges([" ".join(merge) for merge in tokenizer["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    rng = np.random.default_rng(0)
    shapes = {"token_embd": (len(names), 32), "output": (len(names), 32)}
    shapes |= {f"blk.0.attn_{name}": (32, 32) for name in ("q", "output")}
    shapes |= {f"blk.0.attn_{name}": (16, 32) for name in ("k", "v")}
    shapes |= {f"blk.0.ffn_{name}": (64, 32) for name in ("gate", "up")} | {
        "blk.0.ffn_down": (32, 64)
    }
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", rng.normal(0, 0.3, shape).astype(np.float32))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A directory with two documents."""
    directory = tmp_path / "text"
    (directory / "b").mkdir(parents=True)
    (directory / "b" / "a.txt").write_text(TEXT * 4)
    (directory / "c.txt").write_text("the fox and the dog")
    return directory

"""A language model that knows nothing of the world but is sure of it, and text of its making."""

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, SAMPLES, LENGTH = 512, 400, 64


def write_teacher(directory: Path, tokens: Path) -> None:
    """Write model and tokenizer, as transformers keeps them, and text: uint32, one row a sample."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "max_position_embeddings": LENGTH}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=VOCABULARY, **sizes)).eval()
    ids = torch.randint(0, VOCABULARY, (SAMPLES, 1))
    with torch.no_grad():
        model.lm_head.weight.mul_(40.0)
        while ids.shape[1] < LENGTH:
            likely = torch.softmax(model(ids).logits[:, -1], dim=1)
            ids = torch.cat([ids, torch.multinomial(likely, 1)], dim=1)
    model.save_pretrained(directory)
    words = {f"word{number}": number for number in range(VOCABULARY)}
    known = Tokenizer(models.WordLevel(words, "word0"))
    PreTrainedTokenizerFast(tokenizer_object=known).save_pretrained(directory)
    np.save(tokens, ids.numpy().astype(np.uint32))

"""Train a small causal language model from the labels of a larger one; nothing is fetched.

HF_HUB_OFFLINE=1 python examples/language_model.py 127.0.0.1:7070 mine:v1 teacher/ tokens.npy run/
"""

import sys
from typing import Any

import numpy as np
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, TrainingArguments

import labelcast
from labelcast.torch import LabelcastTrainer  # in place of transformers' own

EPOCHS = 4


def main(address: str, tag: str, tokenizer_directory: str, tokens: str, out: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_directory)
    # As the teacher's: one row a sample, numbered from 0.
    rows = [{"input_ids": row} for row in np.load(tokens)]
    sizes: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "vocab_size": len(tokenizer)}
    student = LlamaForCausalLM(LlamaConfig(**sizes))
    run: Any = {"use_cpu": True, "report_to": "none", "save_strategy": "no", "learning_rate": 1e-2}
    found = LabelcastTrainer(
        student,
        TrainingArguments(out, num_train_epochs=EPOCHS, disable_tqdm=True, **run),
        train_dataset=rows,
        processing_class=tokenizer,
        label_set=labelcast.open(tag, address=address),  # the other line that is new
    ).train()
    print(f"{found.global_step} steps, a loss of {found.training_loss:.2f} nats")


if __name__ == "__main__":
    main(*sys.argv[1:])

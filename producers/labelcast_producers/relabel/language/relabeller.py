"""Runs a causal language model over token sequences and writes their label set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelcast.codec.latent import LatentCodec
from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set import digest_of, to_canonical
from labelcast.label_set.fingerprints import token_fingerprint
from labelcast.label_set.language import LanguageContract, tokenizer_digest
from labelcast.label_set.language.next_token import REPORT_KEY, NextTokenFigure, NextTokenMeter
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.progress import Progress, unwatched
from labelcast_producers.encoding.sequence_set import SequenceSet, write_sequence_set
from labelcast_producers.encoding.tokens.base import Takes, TokenEncoder
from labelcast_producers.fitting.parallel import ALONE, Workers
from labelcast_producers.relabel.labelling_loop import LabellingLoop
from labelcast_producers.relabel.language.chosen_encoder import choose_token_encoder
from labelcast_producers.relabel.language.first_labels import FirstLabels
from labelcast_producers.relabel.language.labelling import TokenRows, encode_batch
from labelcast_producers.relabel.language.plan import SequencePlan
from labelcast_producers.relabel.language.teachers.model import CausalModel
from labelcast_producers.relabel.language.teachers.teacher import LanguageTeacher
from labelcast_producers.relabel.language.text.kept_tokens import TOKENS_NAME, write_kept_tokens
from labelcast_producers.relabel.language.text.sequences import TokenSequences
from labelcast_producers.relabel.language.text.tokenizer import Tokenizer
from labelcast_producers.relabel.language.unfinished import UnfinishedRun
from labelcast_producers.relabel.same_settings import expect_same_settings
from labelcast_producers.relabel.teacher import module_digest

_CALIBRATED_ON = 512


@dataclass(frozen=True, eq=False, slots=True)
class RelabelledText:
    """A label set that was made of text.

    Attributes:
        label_set: the label set.
        padding: columns of the model's logits that no token has.
        teacher: log-probability of the first next tokens under the teacher's own predictions; None
            where this process has made none.
    """

    label_set: LabelSetDirectory
    padding: int
    teacher: NextTokenFigure | None

    @property
    def next_token(self) -> NextTokenFigure:
        """Log-probability of the text's own next token under the decoded labels."""
        figure = NextTokenFigure.from_report(self.label_set.report)
        assert figure is not None  # noqa: S101  some sequence has two tokens
        return figure

    @property
    def is_no_better_than_chance(self) -> bool:
        """Whether the teacher calls the text no likelier than a guess among all tokens would.

        Labels that name few tokens may call it less likely, and be right.
        """
        guess = -float(np.log(self.label_set.manifest.contract.num_classes))
        return self.teacher is not None and self.teacher.mean <= guess


def relabel_text(
    model: CausalModel,
    sequences: TokenSequences,
    tokenizer: Tokenizer,
    *,
    codec: str,
    out: Path,
    temperature: float = 1.0,
    batch_tokens: int = 4096,
    own_logits: bool = False,
    padding: int | None = None,
    ship_head: bool = True,
    keep_tokens: bool = False,
    device: str = "auto",
    fresh: bool = False,
    save_seconds: float = 5.0,
    progress: Progress = unwatched,
    workers: Workers = ALONE,
) -> RelabelledText:
    """Write the model's predictions after every token, in memory of a few batches.

    Of a batch, states are held, and logits of some rows at a time; with `own_logits` all logits of
    a batch. An interrupted run resumes when called again, to the same bytes if as many threads
    compute. All of `workers` must call it.

    Args:
        model: causal language model.
        sequences: what is labelled.
        tokenizer: the model's tokenizer.
        codec: what is kept of a prediction, as `choose_token_encoder` reads it.
        out: directory of the label set; a finished one there is replaced.
        temperature: softmax temperature of probabilities.
        batch_tokens: most tokens of a forward pass, at least 1.
        own_logits: take the model's logits as they come: for models whose head is not known, or
            not all that makes logits. Not with codecs that keep states.
        padding: columns of the logits that no token has; None finds out.
        ship_head: store the head in the label set, where labels need one; else it is named alone,
            for students that have the teacher.
        keep_tokens: write the tokens, which are the text, beside the label set.
        device: torch device or "auto".
        fresh: discard what an unfinished run left there.
        save_seconds: least time between two records of progress.
        progress: counts tokens; called in the first of `workers` alone.
        workers: processes that share the work, all of which see `out`.

    Raises:
        InvalidRequestError: model, tokenizer, codec and options do not go together, `out` holds an
            unfinished run with other settings, or workers differ in what they label.
        StoreFullError: the disk of `out` has no room.
        LabelValueError: NaN or infinity, or a codec that destroys these labels.
        NetworkError: another worker has gone.
    """
    _check(model, sequences, batch_tokens)
    teacher = LanguageTeacher(
        model,
        len(tokenizer),
        tokenizer.name,
        device=workers.choose_device(device),
        own_logits=own_logits,
        padding=padding,
    )
    teacher.prove(sequences[int(sequences.lengths.argmax())])
    plan = SequencePlan(sequences, batch_tokens)
    encoder = _chosen(codec, plan, teacher, len(tokenizer), temperature)
    described = _described(model, sequences, tokenizer, teacher, encoder)
    settings = _settings(model, described, encoder, plan)
    expect_same_settings(workers, settings)
    unfinished = UnfinishedRun(out, settings, plan, encoder.codec.row_stride)
    labeller = _Labeller(plan, teacher, encoder)
    done = unfinished.take_up(workers, labeller.label, fresh=fresh)
    with unfinished.opened() as files:
        loop = LabellingLoop(plan, done, workers, unfinished.finished, [files.rows, files.figures])
        loop.work(
            lambda batch: files.write(plan.rows(batch)[0], labeller.label(batch)),
            save_seconds=save_seconds,
            progress=progress,
        )
    workers.wait()
    if workers.is_first:
        # Those of an earlier run would be a text that nobody means to give away.
        (out / TOKENS_NAME).unlink(missing_ok=True)
        if keep_tokens:
            write_kept_tokens(sequences, out / TOKENS_NAME)
        head = teacher.head if ship_head and described.language.head is not None else None
        write_sequence_set(
            described,
            encoder.codec,
            unfinished.blocks(),
            out,
            head=head,
            report=_report(unfinished, sequences, keep_tokens=keep_tokens),
        )
    workers.wait()
    label_set = LabelSetDirectory(out)
    workers.wait()
    if workers.is_first:
        unfinished.discard()
    return RelabelledText(label_set, teacher.padding, labeller.first.next_token.figure())


class _Labeller:
    """Labels the batches of a plan."""

    def __init__(self, plan: SequencePlan, teacher: LanguageTeacher, encoder: TokenEncoder) -> None:
        self._plan, self._teacher, self._encoder = plan, teacher, encoder
        self.first = FirstLabels(of_states=encoder.takes is Takes.STATES)
        """The first labels of this process."""

    def label(self, batch: int) -> TokenRows:
        """Rows of one batch."""
        numbers = self._plan.numbers(batch)
        tokens = [self._plan.sequences[number] for number in numbers]
        lengths = [len(each) for each in tokens]
        following = [np.append(each[1:].astype(np.int64), -1) for each in tokens]
        return encode_batch(
            self._encoder,
            self._teacher.predict(tokens),
            sample_ids=np.repeat(np.array(numbers, dtype=np.uint64), lengths),
            positions=np.concatenate([np.arange(n, dtype=np.uint32) for n in lengths]),
            following=np.concatenate(following),
            first=self.first,
        )


def _check(model: CausalModel, sequences: TokenSequences, batch_tokens: int) -> None:
    if batch_tokens < 1:
        raise InvalidRequestError(f"a batch has at least one token, not {batch_tokens}")
    longest = int(sequences.lengths.max())
    if model.positions is not None and longest > model.positions:
        raise InvalidRequestError(
            f"the longest sequence has {longest} tokens, the model {model.name} has"
            f" {model.positions} positions; cut them with --max-length {model.positions}"
        )


def _chosen(
    codec: str, plan: SequencePlan, teacher: LanguageTeacher, vocabulary: int, temperature: float
) -> TokenEncoder:
    """The encoder, made from the states of the first sequences."""

    def states() -> NDArray[np.float32]:
        if teacher.head is None:
            raise InvalidRequestError(
                "with its own logits, a model's states are not known; keep probabilities with a"
                " codec such as topk:32, or leave --own-logits out"
            )
        parts, count = list[NDArray[np.float32]](), 0
        for batch in range(plan.num_batches):
            tokens = [plan.sequences[number] for number in plan.numbers(batch)]
            predicted = teacher.predict(tokens)
            part = predicted.states(0, len(predicted))
            assert part is not None  # noqa: S101  a teacher with a head gives states
            parts.append(part)
            count += len(part)
            if count >= _CALIBRATED_ON:
                break
        return np.concatenate(parts)[:_CALIBRATED_ON]

    encoder = choose_token_encoder(codec, vocabulary, states, temperature=temperature)
    if isinstance(encoder.codec, LatentCodec) and teacher.head is not None:
        encoder.codec = encoder.codec.with_head(teacher.head)
    return encoder


def _described(
    model: CausalModel,
    sequences: TokenSequences,
    tokenizer: Tokenizer,
    teacher: LanguageTeacher,
    encoder: TokenEncoder,
) -> SequenceSet:
    needs_head = encoder.takes is Takes.STATES and teacher.head is not None
    prints = [token_fingerprint(tokens) for tokens in sequences]
    return SequenceSet(
        teacher=module_digest(model.module),
        teacher_name=model.name,
        language=LanguageContract(
            tokenizer=tokenizer_digest(tokenizer.tokens),
            tokenizer_name=tokenizer.name,
            padding=teacher.padding,
            head=teacher.head.spec if needs_head and teacher.head is not None else None,
        ),
        sample_ids=sequences.sample_ids,
        lengths=sequences.lengths,
        fingerprints=np.array(prints, dtype=np.uint64),
    )


def _settings(
    model: CausalModel, described: SequenceSet, encoder: TokenEncoder, plan: SequencePlan
) -> Digest:
    """Digest of all that decides the rows and their order."""
    ends = encoder.codec.header.temperatures
    value: dict[str, Any] = {
        "teacher": described.teacher,
        # Settings of models hold anything that JSON can hold, and sometimes more.
        "model": repr(sorted(model.settings.items())),
        "type": str(next(model.module.parameters(), torch.empty(0)).dtype),
        "rule": repr(model.rule),
        "dataset": described.identity(),
        "language": described.language.as_json(),
        "codec": encoder.codec.name,
        "config": encoder.codec.config(),
        "tables": {
            name: digest_of(np.ascontiguousarray(table).tobytes())
            for name, table in encoder.codec.tensors().items()
        },
        "temperatures": None if ends is None else [ends.low, ends.high],
        "batch_tokens": plan.batch_tokens,
    }
    return digest_of(to_canonical(value))


def _report(
    unfinished: UnfinishedRun, sequences: TokenSequences, *, keep_tokens: bool
) -> dict[str, Any]:
    meter = NextTokenMeter()
    for block in unfinished.figures():
        meter.add(block)
    figure = meter.figure()
    return {
        "labels": sequences.num_tokens,
        "sequences": len(sequences),
        "source": sequences.source,
        "tokens_kept": keep_tokens,
        REPORT_KEY: None if figure is None else figure.as_json(),
    }

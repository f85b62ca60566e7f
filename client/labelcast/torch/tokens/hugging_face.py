"""A `Trainer` of Hugging Face that distils a causal LM from the labels of a label set."""

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from transformers import Trainer

from labelcast.errors import InvalidRequestError
from labelcast.identifiers import Digest
from labelcast.label_set.language import tokenizer_digest
from labelcast.label_set.student_side import Unchecked
from labelcast.opening.label_set import LabelSet
from labelcast.torch.coded_labels import CodedLabels
from labelcast.torch.data.position import Position
from labelcast.torch.tokens.data.batch import IGNORED, TokenBatch
from labelcast.torch.tokens.data.sequences import TokenSequences
from labelcast.torch.tokens.data.student_side import require_same_tokenizer
from labelcast.torch.tokens.data.token_loader import TokenLoader
from labelcast.torch.tokens.divergences import TokenLoss
from labelcast.torch.tokens.heads.head_input import HeadInput, head_of, logger, makes_logits
from labelcast.torch.tokens.losses import token_loss, token_loss_of_states

_SOFT = "soft_labels"
# A run that counts steps has no number of epochs.
_MANY_EPOCHS = 2**16


class LabelcastTrainer(Trainer):
    """Trains on labels of a label set in place of the text's own next tokens.

    The loss is taken of what the model's head is given, so that neither the student's logits nor
    the teacher's ever exist whole; of its logits where the head is none of one linear layer, or
    makes other logits than the model's own, which the first batch shows. Evaluation is that of the
    `Trainer`.

    Batches are those of a `TokenLoader`: it checks tokenizer, vocabulary, tokens and the first
    labels, and shuffles with `data_seed`, or `seed`. A run goes on from a checkpoint of any step.

    Args:
        *arguments: of `Trainer`.
        label_set: opened from a service or a directory.
        tokenizer: digest of the student's tokenizer, or UNCHECKED; by default that of
            `processing_class`, which must be the tokenizer then.
        row_length: places of a row; by default those of the longest sample, or as many as the model
            has positions for.
        packed: whether several samples may share a row. Models that take `position_ids` keep them
            apart.
        count_last: whether the label of a sample's last position counts.
        loss: what is minimised.
        temperature: softmax temperature of both sides.
        loader_options: further ones of `TokenLoader`.
        **options: of `Trainer`. `train_dataset` is a `TokenSequences`, or rows with `input_ids`;
            `labels` of −100 are tokens that no label is asked for, `attention_mask` cuts padding
            off, and `sample_id` names the sample, which its place does otherwise.

    Raises:
        InvalidRequestError: there is no tokenizer, or the model cannot keep documents apart.
        As `TokenLoader`.
    """

    train_dataset: Any

    def __init__(
        self,
        *arguments: Any,
        label_set: LabelSet,
        tokenizer: Digest | Unchecked | None = None,
        row_length: int | None = None,
        packed: bool = True,
        count_last: bool = False,
        loss: TokenLoss = TokenLoss.FORWARD_KL,
        temperature: float = 1.0,
        loader_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._loss: dict[str, Any] = {"loss": loss, "temperature": temperature}
        given: Any = self.train_dataset
        if given is not None and not isinstance(given, TokenSequences):
            self.train_dataset = sequences_of(given)
        contract = label_set.contract
        compared = _digest_of(self.processing_class) if tokenizer is None else tokenizer
        require_same_tokenizer(contract, compared, type(self.processing_class).__name__)
        if packed and "position_ids" not in inspect.signature(self.model.forward).parameters:
            raise InvalidRequestError(
                f"{type(self.model).__name__} takes no position_ids, by which it would keep samples"
                " of a row apart; give packed=False"
            )
        rows = int(self.model.get_input_embeddings().weight.shape[0])
        # Rows after those of the same tokens name none; of other tokens, nobody knows.
        known = not isinstance(compared, Unchecked)
        self._padding = max(0, rows - contract.num_classes) if known else 0
        self._head = head_of(self.accelerator.unwrap_model(self.model), padding=self._padding)
        self._head_is_proven = False
        # The loss is divided by all labels of a step here, as models do that take this argument.
        self.model_accepts_loss_kwargs = True
        self._loader_options: dict[str, Any] = {
            "label_set": label_set,
            "tokenizer": compared,
            "row_length": row_length,
            "packed": packed,
            "count_last": count_last,
            **(loader_options or {}),
        }

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Batches of tokens with their labels; not shuffled or shared out again."""
        if self.train_dataset is None:
            raise InvalidRequestError("training needs train_dataset=, the tokens of the label set")
        batches = _TrainBatches(self, self._loader(self.train_dataset))
        # Neither prepared nor collated: everything is in its place.
        return DataLoader(batches, batch_size=None, collate_fn=_as_it_is)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Loss of a batch with labels of the label set; of others, the `Trainer`'s own."""
        if _SOFT not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        given = {name: inputs[name] for name in ("input_ids", "position_ids")}
        # A model that keeps a cache does not look at where documents begin.
        outputs, loss = self._distilled(
            model, given | {"use_cache": False}, inputs["labels"] != IGNORED, inputs[_SOFT]
        )
        if num_items_in_batch is not None:
            loss = loss * len(inputs[_SOFT]) / num_items_in_batch
            if self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _distilled(
        self, model: Any, given: dict[str, Any], counted: Tensor, labels: CodedLabels
    ) -> tuple[Any, Tensor]:
        if self._head is not None:
            module, head = self._head
            with HeadInput(module) as taken:
                outputs = model(**given)
            states = taken.states
            if states is not None and self._proven(states, outputs.logits):
                return outputs, token_loss_of_states(states[counted], head, labels, **self._loss)
            self._head = None
            logger.info("the model's logits are not those of its head: the loss takes logits")
        outputs = model(**given)
        loss = token_loss(outputs.logits[counted], labels, padding=self._padding, **self._loss)
        return outputs, loss

    def _proven(self, states: Tensor, logits: Tensor) -> bool:
        if not self._head_is_proven and self._head is not None:
            self._head_is_proven = makes_logits(self._head[1], states, logits)
        return self._head_is_proven

    def _loader(self, sequences: TokenSequences) -> TokenLoader:
        arguments, options = self.args, dict(self._loader_options)
        if options["row_length"] is None:
            config = self.model.config.get_text_config()
            # GPT-2 has it under another name, which the attribute finds and a dictionary does not.
            most = getattr(config, "max_position_embeddings", None)
            longest = int(sequences.lengths.max())
            options["row_length"] = longest if most is None else min(longest, int(most))
        label_set, seed = options.pop("label_set"), arguments.data_seed
        given: dict[str, Any] = {
            "epochs": math.ceil(arguments.num_train_epochs),
            "batch_size": arguments.per_device_train_batch_size,
            "order_key": arguments.seed if seed is None else seed,
            "rank": arguments.process_index,
            "num_ranks": arguments.world_size,
            "device": arguments.device,
            "token_workers": arguments.dataloader_num_workers,
        }
        if arguments.max_steps > 0:
            given["epochs"] = _MANY_EPOCHS
        loader = TokenLoader(sequences, label_set, **(given | options))
        # The Trainer counts the batches of one epoch.
        loader.set_epoch(0)
        return loader


class _TrainBatches(IterableDataset[Any]):
    """Batches of the epoch that the `Trainer` is in, under the names that it knows."""

    def __init__(self, trainer: LabelcastTrainer, loader: TokenLoader) -> None:
        self._trainer, self._loader = trainer, loader
        self._batches = len(loader)

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[dict[str, Any] | None]:
        arguments, done = self._trainer.args, self._trainer.state.global_step
        together = arguments.gradient_accumulation_steps
        epoch, steps = divmod(done, -(-self._batches // together))
        skipped = 0 if arguments.ignore_data_skip else steps * together
        # The Trainer throws away as many batches as it was trained on before its checkpoint.
        yield from (None for _ in range(skipped))
        self._loader.start_at(Position(epoch, skipped * self._loader.batch_size))
        self._loader.set_epoch(epoch)
        for batch in self._loader:
            yield _named(batch)


def sequences_of(rows: Iterable[Mapping[str, Any]]) -> TokenSequences:
    """Token sequences of a data set of rows, as tokenizers give them.

    Args:
        rows: each with `input_ids`; `attention_mask`, `labels` and `sample_id` as
            `LabelcastTrainer` has them.

    Raises:
        InvalidRequestError: a row has no tokens, or no `input_ids`.
    """
    tokens, counted, sample_ids = [], [], []
    for place, row in enumerate(rows):
        if "input_ids" not in row:
            raise InvalidRequestError(
                f"row {place} has no input_ids; give rows that a tokenizer made, or TokenSequences"
            )
        ids = np.asarray(row["input_ids"])
        wanted = np.asarray(row.get("labels", ids)) != IGNORED
        kept = np.asarray(row.get("attention_mask", np.ones(len(ids)))) != 0
        tokens.append(ids[kept])
        # Labels of a row are its own tokens: that of a token is predicted one position before.
        counted.append(np.append(wanted[kept][1:], True))
        sample_ids.append(row.get("sample_id", place))
    return TokenSequences.of(tokens, sample_ids=sample_ids, counted=counted)


def _named(batch: TokenBatch) -> dict[str, Any]:
    # What is counted to divide the loss by; under both names, shifted or not.
    marks = batch.counted.long() - 1
    marks = marks.masked_fill(~batch.counted, IGNORED)
    return {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "labels": marks,
        "shift_labels": marks,
        _SOFT: batch.labels,
    }


def _digest_of(processing_class: Any) -> Digest | Unchecked:
    if processing_class is None:
        raise InvalidRequestError(
            "nothing says which tokens the student knows; give processing_class=tokenizer, or"
            " tokenizer=UNCHECKED"
        )
    # A vocabulary with holes has fewer tokens than IDs.
    ids = range(max(processing_class.get_vocab().values()) + 1)
    return tokenizer_digest(processing_class.convert_ids_to_tokens(ids))


def _as_it_is(batch: Any) -> Any:
    return batch

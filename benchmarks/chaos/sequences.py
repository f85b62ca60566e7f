"""A label set of sequences whose every row spells its own name, and what students ask of it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.label_sets import FIRST_SAMPLE_ID, SpelledSet
from labelcast.label_set import StoredViews, ViewIndex, digest_of, index_of_sequences
from labelcast.label_set.fingerprints import token_fingerprint
from labelcast.label_set.language import LanguageContract, tokenizer_digest
from labelcast.label_set_directory import LabelSetDirectory
from labelcast.plans import Padding, PlanBatches, SequencePlan
from labelcast_producers.encoding.sequence_set import SequenceSet, write_sequence_set


@dataclass(frozen=True)
class SpelledSequences(SpelledSet):
    """Sequences of 1 to `num_seeds` tokens; rows go sequence after sequence.

    Sets of as many sequences have the same lengths.
    """

    seed_step = 1

    def __len__(self) -> int:
        return int(self.starts[-1])

    @cached_property
    def lengths(self) -> NDArray[np.uint32]:
        """Positions of each sequence: uint32, shape (S,)."""
        drawn = np.random.default_rng(0).integers(1, self.num_seeds + 1, self.num_samples)
        drawn[0] = self.num_seeds
        return drawn.astype(np.uint32)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Row of each sequence's first position, and the number of all: int64, shape (S + 1,)."""
        starts = np.zeros(self.num_samples + 1, dtype=np.int64)
        np.cumsum(self.lengths, out=starts[1:])
        return starts

    def samples_and_seeds(
        self, at: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        samples = np.searchsorted(self.starts, at, side="right") - 1
        return samples, at - self.starts[samples]

    def numbers(self, samples: NDArray[np.int64], seeds: NDArray[np.int64]) -> NDArray[np.int64]:
        if ((samples < 0) | (samples >= self.num_samples)).any():
            return np.full(len(samples), -1, dtype=np.int64)
        return np.where(seeds < self.lengths[samples], self.starts[samples] + seeds, -1)

    @property
    def sample_ids(self) -> NDArray[np.uint64]:
        """Of every sequence: uint64, shape (S,)."""
        samples = np.arange(self.num_samples, dtype=np.uint64)
        return np.uint64(FIRST_SAMPLE_ID) + np.uint64(self.sample_step) * samples

    @cached_property
    def stored(self) -> StoredViews:
        """Which positions have labels: all."""
        segment = index_of_sequences(self.sample_ids, self.lengths)
        return StoredViews(ViewIndex([segment], of_sequences=True))

    def write(self, directory: Path) -> LabelSetDirectory:
        tokens = [str(token) for token in range(self.num_classes)]
        texts = (np.arange(length, dtype=np.uint32) for length in self.lengths.tolist())
        description = SequenceSet(
            teacher=digest_of(self.tag.encode()),
            teacher_name=f"integers of {self.tag}",
            language=LanguageContract(
                tokenizer=tokenizer_digest(tokens), tokenizer_name="integers"
            ),
            sample_ids=self.sample_ids,
            lengths=self.lengths,
            fingerprints=np.array([token_fingerprint(text) for text in texts], dtype=np.uint64),
        )
        return write_sequence_set(description, self.codec, [self.rows], directory, report={})

    def spans(self, random: np.random.Generator, total: int) -> list[NDArray[np.int64]]:
        """Batches of one to five sequences each, some of them in part: row numbers."""
        batches, left = list[NDArray[np.int64]](), total
        while left > 0:
            chosen = random.integers(self.num_samples, size=int(random.integers(1, 6)))
            spans = [self._span(random, int(sample)) for sample in chosen]
            batches.append(np.concatenate(spans))
            left -= len(batches[-1])
        return batches

    def _span(self, random: np.random.Generator, sample: int) -> NDArray[np.int64]:
        first, last = int(self.starts[sample]), int(self.starts[sample + 1])
        if random.random() < 0.3:
            first = int(random.integers(first, last))
            last = int(random.integers(first, last)) + 1
        return np.arange(first, last)

    def planned(
        self, random: np.random.Generator, total: int, size: int
    ) -> PlanBatches[SequencePlan]:
        """Of all sequences or some, by one of several ranks, in batches of either kind."""
        ids = self.sample_ids
        if random.random() < 0.5:
            ids = random.permutation(ids)[: int(random.integers(10, self.num_samples))]
        num_ranks = int(random.integers(1, 4))
        rows = int(self.stored.count_views(ids).sum())
        plan = SequencePlan(
            ids,
            self.stored,
            epochs=1 + total * num_ranks // rows,
            order_key=int(random.integers(2**62)) if random.random() < 0.9 else None,
            rank=int(random.integers(num_ranks)),
            num_ranks=num_ranks,
            padding=Padding(str(random.choice(list(Padding)))),
        )
        if random.random() < 0.5:
            return plan.batches(sequences=int(random.integers(1, 9)))
        return plan.batches(tokens=size, start=int(random.integers(len(plan))))

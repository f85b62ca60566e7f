"""The fitting steps: KL to the teacher through quantized latents.

The loss is KL(teacher ‖ decoded) at the fit's temperature plus the commitment of arXiv 1711.00937;
codebooks follow by moving averages. The network gives logits divided by the temperature, so that a
fit runs equally smoothly at any temperature; `round_to_stored` multiplies them back at the end.
Nothing here depends on how often the fit was interrupted.

Several workers take a step together: each computes its share of the batch, then all sum gradients
and collect the latents of the whole batch, from which each moves its own codebooks in the same way.
"""

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from labelcast.codec import LabelKind, Rows
from labelcast.errors import InvalidRequestError
from labelcast.progress import Progress
from labelcast_producers.dense.files import LabelBlock, LabelRows
from labelcast_producers.dense.row_context import RowContext
from labelcast_producers.fitting.checkpoint import (
    START_ANEW,
    CheckpointHeader,
    load_checkpoint,
    save_checkpoint,
)
from labelcast_producers.fitting.config import FitConfig
from labelcast_producers.fitting.metrics import is_likeliest, kl_divergence, perplexities
from labelcast_producers.fitting.parallel import Workers
from labelcast_producers.fitting.sampling import RowNumbers, Split, batch_rows, spaced
from labelcast_producers.neural.autoencoder import (
    AutoencoderShape,
    VectorQuantizedAutoencoder,
    log_probabilities,
)
from labelcast_producers.neural.encoding import VqaeEncoder, context_tensor
from labelcast_producers.neural.export import export_codec, round_to_stored
from labelcast_producers.neural.quantizer import straight_through
from labelcast_producers.neural.search.code_search import search_codes

LOG_EVERY_STEPS = 50
# k-means needs some tens of latents per codeword; more than this costs seconds for nothing.
_START_ROWS_PER_CODEWORD = 32
_MAX_START_ROWS = 2**15
_MAX_START_VALUES = 2**26
_FINAL_LEARNING_RATE = 0.02
# Fitting takes the step of the search that pays most: more candidates cost more than they gain.
_FIT_CANDIDATES = 3
# Several workers must stop at the same step; asking each other at every step would slow them down.
_ASK_EVERY_STEPS = 10
# 2**64 over the golden ratio: neighbouring steps and seeds do not share a generator.
_ODD = 0x9E3779B97F4A7C15


@dataclass(eq=False)
class Loop:
    """One fit, from its first or resumed step to its last.

    Attributes:
        labels: labels to fit.
        label_kind: kind of the labels.
        context: what is known about their views; None if the config conditions on nothing.
        config: settings of the fit.
        split: which rows are fitted.
        device: device of the fit.
        labels_digest: digest that identifies the labels in checkpoints.
        checkpoint: path of the unfinished fit's checkpoint.
        log: path of JSON lines with step, kl, agreement and perplexity of a batch.
        checkpoint_seconds: least time between two checkpoints.
        workers: processes that fit together; the first writes `checkpoint` and `log`.
        progress: called after steps, only in the first worker.
        on_log: called with every line of the log, only in the first worker.
        model: the autoencoder.
        step: number of the next step.
        seconds: time spent on fitting.
    """

    labels: LabelRows
    label_kind: LabelKind
    context: RowContext | None
    config: FitConfig
    split: Split
    device: torch.device
    labels_digest: str
    checkpoint: Path
    log: Path
    checkpoint_seconds: float
    workers: Workers
    progress: Progress
    on_log: Callable[[Mapping[str, float]], None]
    model: VectorQuantizedAutoencoder = field(init=False)
    step: int = field(init=False, default=0)
    seconds: float = field(init=False, default=0.0)
    _encoder: VqaeEncoder | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        shape = AutoencoderShape(
            self.labels.num_classes,
            self.config.vqae,
            self.config.encoder_hidden,
            self.config.temperature,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.config.seed)
            self.model = VectorQuantizedAutoencoder(shape).to(self.device)
        self.compute = self.config.compute.resolve(self.device)
        self._optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=self.config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.config.chosen_weight_decay,
            fused=self.device.type in ("cpu", "cuda"),
        )

    def run(self, *, resume: bool) -> None:
        """Fit to the last step.

        Args:
            resume: continue from the checkpoint if there is one; otherwise start over.

        Raises:
            InvalidRequestError: the checkpoint belongs to another fit, or the fit diverged.
            LabelValueError: a label holds NaN or infinity.
            NetworkError: another worker has gone.
            KeyboardInterrupt: SIGINT, to any of the workers; a checkpoint has been written.
        """
        workers = self.workers
        # The first worker checks for all: another could check after the file has come or gone.
        if workers.any(resume and workers.is_first and self.checkpoint.exists()):
            self._resume()
        else:
            if workers.is_first:
                self.checkpoint.unlink(missing_ok=True)
                self.log.write_text("")
                self._start()
            workers.broadcast_(self.model.state_dict().values())
        with (
            (self.log if workers.is_first else Path(os.devnull)).open("a") as log,
            ThreadPoolExecutor(1) as reader,
            _sigint_noted(once=workers.size == 1) as noted,
        ):
            if workers.is_first:
                self.progress(self.step, self.config.steps)
            upcoming = reader.submit(self._read_batch, self.step)
            saved = time.perf_counter()
            while self.step < self.config.steps:
                begun = time.perf_counter()
                batch = upcoming.result()
                if self.step + 1 < self.config.steps:
                    upcoming = reader.submit(self._read_batch, self.step + 1)
                line = self._fit_batch(*batch)
                self.step += 1
                self.seconds += time.perf_counter() - begun
                if workers.is_first:
                    self.progress(self.step, self.config.steps)
                    if line:
                        log.write(json.dumps(line) + "\n")
                        self.on_log(line)
                stopping = self._asks_whether_to_stop() and workers.any(noted.is_set())
                due = time.perf_counter() - saved >= self.checkpoint_seconds
                if workers.is_first and (stopping or due):
                    log.flush()
                    self.save()
                    saved = time.perf_counter()
                if stopping:
                    raise KeyboardInterrupt

    def finished_encoder(self) -> VqaeEncoder:
        """The encoder of a fit that has come to its last step; rounds the model to what is stored.

        Raises:
            LabelValueError: a value overflows the stored precision.
        """
        if self._encoder is None:
            config = self.config
            round_to_stored(self.model, temperature=config.temperature)
            self._encoder = VqaeEncoder(
                self.model,
                export_codec(self.model, config.temperatures),
                label_kind=self.label_kind,
                temperature=config.temperature,
                search=config.search,
            )
        return self._encoder

    def _asks_whether_to_stop(self) -> bool:
        due = self.step % _ASK_EVERY_STEPS == 0 or self.step == self.config.steps
        return due or self.workers.size == 1

    def _start(self) -> None:
        """Initialise what depends on data before the first step."""
        config = self.config
        wanted = max(config.batch_rows, _START_ROWS_PER_CODEWORD * config.codebook_size)
        bound = max(1, min(_MAX_START_ROWS, _MAX_START_VALUES // self.labels.num_classes))
        rows = self.split.seen(spaced(self.split.seen_rows, min(wanted, bound)))
        teacher = self._teacher(self.labels.gather(rows))
        about = None if self.context is None else self.context.rows(rows)
        with torch.no_grad():
            context = self.model.context(context_tensor(about, self.device))
        self.model.start_from(
            teacher,
            context,
            torch.Generator().manual_seed(config.seed),
            batch_rows=config.batch_rows,
        )

    def _resume(self) -> None:
        header = load_checkpoint(
            self.checkpoint,
            config=self.config,
            labels_digest=self.labels_digest,
            model=self.model,
            optimizer=self._optimizer,
        )
        self.step, self.seconds = header.step, header.seconds
        if not self.workers.is_first:
            return
        # A crash may have come after lines that the checkpoint does not know about.
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        known = [line for line in lines if _is_before(line, self.step)]
        self.log.write_text("".join(f"{line}\n" for line in known))

    def save(self) -> None:
        """Write a checkpoint, if this is the first worker; not of a model that is rounded."""
        if not self.workers.is_first or self._encoder is not None:
            return
        header = CheckpointHeader(
            step=self.step,
            seconds=self.seconds,
            labels_digest=self.labels_digest,
            config=self.config,
        )
        save_checkpoint(self.checkpoint, header, self.model, self._optimizer)

    def _rows(self, step: int) -> RowNumbers:
        config = self.config
        return batch_rows(
            self.split,
            seed=config.seed,
            step=step,
            count=config.batch_rows,
            run_rows=config.run_rows,
        )

    def _read_batch(self, step: int) -> tuple[LabelBlock, Rows | None]:
        rows = self.workers.share(self._rows(step))
        return self.labels.gather(rows), None if self.context is None else self.context.rows(rows)

    def _teacher(self, batch: LabelBlock) -> Tensor:
        values = torch.from_numpy(batch).to(self.device)
        return log_probabilities(values, self.label_kind, self.config.temperature)

    def _fit_batch(self, batch: LabelBlock, about: Rows | None) -> dict[str, float]:
        """Take one step; returns the line to log, or {}.

        Args:
            batch: this worker's share of the batch.
            about: packed context of the share.
        """
        config, model, workers = self.config, self.model, self.workers
        # Means over a share, weighted so that their sum is the mean over the batch.
        weight = len(batch) / config.batch_rows
        teacher = self._teacher(batch)
        with self.compute.autocast(self.device):
            context = model.context(context_tensor(about, self.device))
            latents = model.latents(teacher, context)
        codes = self._choose(latents, teacher, context)
        codewords = model.quantizer.look_up(codes)
        with self.compute.autocast(self.device):
            softened = model.decode(straight_through(latents, codewords), context)
        decoded = torch.log_softmax(softened, dim=1)
        kl = kl_divergence(teacher, decoded).mean()
        # Without codes there is nothing to commit to, and the mean of nothing is NaN.
        pull = F.mse_loss(latents, codewords) if config.codes else 0.0
        # Differences shrink with the square of the temperature (Hinton et al., arXiv 1503.02531);
        # without this factor only the commitment would be learnt at high ones.
        loss = weight * (config.temperature**2 * kl + config.commitment * pull)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        gradients = [weights.grad for weights in model.parameters() if weights.grad is not None]
        latents = workers.placed(latents, config.batch_rows)
        codes = workers.placed(codes, config.batch_rows)
        workers.sum_([*gradients, latents, codes])
        rate = learning_rate(config, self.step)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        model.quantizer.follow(latents, codes, decay=config.ema_decay)
        if self.step < config.revive_until * config.steps:
            generator = torch.Generator().manual_seed((config.seed + self.step * _ODD) % 2**63)
            model.quantizer.revive(latents, generator, below=config.revive_below)
        if self.step % LOG_EVERY_STEPS and self.step + 1 < config.steps:
            return {}
        agreement = is_likeliest(teacher, decoded.argmax(dim=1, keepdim=True)).double().mean()
        means = weight * torch.stack([kl.detach().double(), agreement])
        workers.sum_([means])
        return self._line(*means.tolist())

    def _choose(self, latents: Tensor, teacher: Tensor, context: Tensor | None) -> Tensor:
        """Codes of a batch: the nearest at first, later those that the encoder will choose."""
        config = self.config
        if self.step < config.search_from * config.steps:
            return self.model.quantizer.nearest(latents)
        return search_codes(
            self.model,
            latents.detach(),
            teacher,
            None if context is None else context.detach(),
            temperature=1.0,  # the network gives logits that are already divided
            candidates=_FIT_CANDIDATES,
            rounds=1,
            compute=self.compute,
        )

    def _line(self, kl: float, agreement: float) -> dict[str, float]:
        if not math.isfinite(kl):
            raise InvalidRequestError(
                f"the fit diverged by step {self.step}; lower learning_rate"
                f" (now {self.config.learning_rate}) and {START_ANEW}"
            )
        counts = self.model.quantizer.counts
        perplexity = perplexities(counts).mean() if len(counts) else torch.ones(())
        return {
            "step": self.step,
            "kl": kl,
            "agreement": agreement,
            "perplexity": perplexity.item(),
        }


def learning_rate(config: FitConfig, step: int) -> float:
    """Linear warm-up, then half a cosine: a pure function, so that resuming needs no scheduler."""
    warmup = min(config.warmup_steps, config.steps // 10)
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
    fall = _FINAL_LEARNING_RATE + (1 - _FINAL_LEARNING_RATE) * cosine
    return config.learning_rate * fall * min(1.0, (step + 1) / (warmup + 1))


def _is_before(line: str, step: int) -> bool:
    try:
        return bool(json.loads(line)["step"] < step)
    except (ValueError, KeyError, TypeError):
        return False


@contextmanager
def _sigint_noted(*, once: bool) -> Iterator[threading.Event]:
    """Turn SIGINT into a flag, so that the current step is finished and saved.

    Args:
        once: whether a second SIGINT ends the process at once. Not for workers, to whom torchrun
            passes on a SIGINT that the terminal has sent them too; it kills them if they do not
            end.
    """
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.getsignal(signal.SIGINT)

    def note(*_: object) -> None:
        noted.set()
        if once:
            signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)

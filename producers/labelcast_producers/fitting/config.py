"""Everything that determines a fit, besides the labels."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from labelcast.codec import ContextShape, Precision, TemperatureRange, VqaeShape
from labelcast.codec.context_shape import MAX_CLASS_WIDTH
from labelcast.codec.vqae import MAX_CODEBOOK, MAX_CODES, MAX_HIDDEN_LAYERS, MAX_WIDTH
from labelcast.errors import InvalidRequestError
from labelcast_producers.neural.compute import Compute
from labelcast_producers.neural.encoding import Search

# Decodings that an encoder tries for a label if trials are decoded: 640 labels a second and core.
_SEARCH_TRIALS = 96
# Codewords that a linearised search tries for a code: twice as many found nothing better.
_LINEARISED_CANDIDATES = 16
_CONDITIONED_WEIGHT_DECAY = 0.1

# Shorter fits are tries themselves.
_LEAST_TRIED_STEPS = 1000
# Of what is conditioned on context, unless a width is given.
CLASS_WIDTH = 64

Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]


class FitConfig(BaseModel):
    """Settings of a fit; frozen, and written into everything that the fit makes.

    Attributes:
        codes: codes per label (M); 0 decodes labels from their context alone.
        codebook_size: codewords per codebook (K).
        codeword_width: values per codeword (D).
        encoder_hidden: widths of the encoder's hidden layers; they cost the student nothing.
        decoder_hidden: widths of the decoder's hidden layers; they are in the artifact.
        precision: precision of the stored decoder.
        class_width: values per class embedding, which conditions encoder and decoder on what
            producer and student both know about a view (see `labelcast.context.rows`); 0 conditions
            on nothing, and so does a fit of labels whose hard labels are unknown. None fits with
            0 and with 64, and takes what keeps labels better that neither was fitted to (see
            `context_choice`); where it does not try, it takes 64.
        try_context: whether both are fitted if `class_width` is None; None leaves that to fits of
            1,000 steps and more. Without codes, or rows to compare on, nothing is tried.
        steps: number of fitting steps.
        batch_rows: labels per step.
        run_rows: consecutive rows read together, so that a file larger than memory streams.
        learning_rate: peak, reached after `warmup_steps`, then a half cosine down to 2 %.
        warmup_steps: steps of linear rise; capped at a tenth of `steps`.
        weight_decay: weight decay of AdamW; None takes 0.1 for a fit that is conditioned on
            context, which would otherwise learn pairs of classes by heart (measured at 4 bytes: KL
            on unseen views 0.410 with, 0.425 without), and 0 for others.
        ema_decay: decay of the codebooks' moving averages.
        commitment: weight of the loss that pulls latents towards their codewords.
        revive_below: share of an even use below which a codeword is moved to a latent.
        revive_until: share of the steps after which codewords are not moved any more.
        temperature: softmax temperature at which labels are compared.
        temperature_reach: the codec is declared valid from temperature / reach to temperature *
            reach. Measured at 8 bytes, fitted at 1: the KL is 5 % of that of the mean label at 1,
            4 % at 0.67, 8 % at 1.5, 12 % at 2 and 21 % at 4.
        holdout_every: one block of rows in every `holdout_every` is never fitted; 0 fits all.
        block_rows: rows of one block; None takes one augmentation seed if the file is seed-major,
            else a tenth of a hold-out period.
        metric_rows: most rows, evenly spaced, that are measured on either side.
        search_from: share of the steps after which the fit itself searches for codes, so that
            codebooks and decoder learn the choices that the finished encoder will make.
        search_linearised: whether the finished encoder judges trials by a linear model of the
            decoder, several times as fast (`make bench-encode`), or decodes each.
        search_candidates: codewords that the finished encoder tries for each code; None takes 16.
            If each is decoded, None divides 96 trials per label among the codes and rounds: rounds
            are dropped first, to one, so that each code has two to choose from. Beyond 48 codes,
            one round of two takes more than 96 (512 at 256 codes), and encoding slows down in
            proportion.
        search_rounds: passes over the codes; the most passes if `search_candidates` is None.
        compute: arithmetic of steps and search; metrics and decoding are always fp32.
        seed: seed of weights, batches and codewords.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    codes: int = Field(default=8, ge=0, le=MAX_CODES)
    codebook_size: int = Field(default=256, ge=2, le=MAX_CODEBOOK)
    codeword_width: int = Field(default=8, ge=1, le=MAX_WIDTH)
    encoder_hidden: tuple[Width, ...] = Field(default=(512, 512), max_length=MAX_HIDDEN_LAYERS)
    decoder_hidden: tuple[Width, ...] = Field(default=(512,), max_length=MAX_HIDDEN_LAYERS)
    precision: Precision = Precision.FP16
    class_width: int | None = Field(default=None, ge=0, le=MAX_CLASS_WIDTH)
    try_context: bool | None = None
    steps: int = Field(default=5000, ge=1)
    batch_rows: int = Field(default=512, ge=1, le=2**20)
    run_rows: int = Field(default=32, ge=1, le=2**20)
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    warmup_steps: int = Field(default=100, ge=0)
    weight_decay: float | None = Field(default=None, ge=0, le=1)
    ema_decay: float = Field(default=0.98, ge=0, lt=1)
    commitment: float = Field(default=0.25, ge=0, le=100)
    revive_below: float = Field(default=0.1, ge=0, lt=1)
    revive_until: float = Field(default=0.8, ge=0, le=1)
    temperature: float = Field(default=1.0, gt=0, le=1000)
    temperature_reach: float = Field(default=1.5, ge=1, le=1000)
    holdout_every: int = Field(default=6, ge=0)
    block_rows: int | None = Field(default=None, ge=1)
    metric_rows: int = Field(default=8192, ge=1)
    search_from: float = Field(default=0.7, ge=0, le=1)
    search_linearised: bool = True
    search_candidates: int | None = Field(default=None, ge=1, le=MAX_CODEBOOK)
    search_rounds: int = Field(default=2, ge=0, le=16)
    compute: Compute = Compute.AUTO
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.codes * self.codeword_width > MAX_WIDTH:
            raise ValueError(f"codes * codeword_width is above {MAX_WIDTH}")
        if self.holdout_every == 1:
            raise ValueError("holdout_every=1 would hold out every row; use 2 or more, or 0")
        return self

    @property
    def vqae(self) -> VqaeShape:
        """Sizes of the decoding half; with context if `class_width` is None."""
        return VqaeShape(
            codes=self.codes,
            codebook_size=self.codebook_size,
            codeword_width=self.codeword_width,
            hidden=self.decoder_hidden,
            precision=self.precision,
            context=ContextShape(self._class_width) if self._class_width else None,
        )

    @property
    def tries_context(self) -> bool:
        """Whether `class_width` is to be found by trying."""
        asked = self.steps >= _LEAST_TRIED_STEPS if self.try_context is None else self.try_context
        return self.class_width is None and self.codes > 0 and asked

    @property
    def _class_width(self) -> int:
        return CLASS_WIDTH if self.class_width is None else self.class_width

    def with_class_width(self, width: int) -> "FitConfig":
        """The same settings with this `class_width`."""
        return self.model_copy(update={"class_width": width})

    def without_context(self) -> "FitConfig":
        """The same settings, conditioned on nothing.

        Raises:
            InvalidRequestError: without codes, nothing would be left to decode labels from.
        """
        if not self.codes:
            raise InvalidRequestError(
                "without codes labels are decoded from their context alone: give --codes, or fit a"
                " directory from `labelcast relabel` that has hard labels, with class_width above 0"
                " and without --no-context (in Python: with its context)",
                field="codes",
            )
        return self.with_class_width(0)

    @property
    def temperatures(self) -> TemperatureRange:
        """Temperatures at which the fitted codec is declared valid."""
        reach = self.temperature_reach
        return TemperatureRange(self.temperature / reach, self.temperature * reach)

    @property
    def chosen_weight_decay(self) -> float:
        """`weight_decay`, or the value that None stands for."""
        if self.weight_decay is not None:
            return self.weight_decay
        return _CONDITIONED_WEIGHT_DECAY if self._class_width else 0.0

    @property
    def search(self) -> Search:
        """How the finished encoder chooses codes."""
        rounds = self.search_rounds
        if self.search_linearised:
            candidates = self.search_candidates or _LINEARISED_CANDIDATES
            return Search(candidates, rounds, self.compute, linearised=True)
        if self.search_candidates is not None:
            return Search(self.search_candidates, rounds, self.compute)
        codes = max(1, self.codes)
        rounds = min(rounds, max(1, _SEARCH_TRIALS // (2 * codes)))
        candidates = max(2, _SEARCH_TRIALS // (codes * max(1, rounds)))
        return Search(candidates, rounds, self.compute)


def parse_fit_config(values: Mapping[str, Any]) -> FitConfig:
    """Parse a configuration from a file or a command line.

    Raises:
        InvalidRequestError: a setting is wrong; names the first in one line.
    """
    try:
        return FitConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        given = f" (got {first['input']!r})" if field else ""
        raise InvalidRequestError(
            f"fit configuration: {field + ': ' if field else ''}{first['msg']}{given}", field=field
        ) from None

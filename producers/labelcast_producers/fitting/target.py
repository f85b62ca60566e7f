"""Bytes per label → sizes of a codec: how many codes (M), and which codebooks (K and D)."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from labelcast.codec.vqae import MAX_CODES
from labelcast.errors import InvalidRequestError
from labelcast_producers.dense.files import LabelRows
from labelcast_producers.fitting.config import FitConfig, parse_fit_config
from labelcast_producers.fitting.sampling import Split

# One code of 256 codewords is one byte.
MAX_TARGET_BYTES = MAX_CODES
_CHOSEN = ("codes", "codebook_size")

_CODEBOOK = 256
# Measured at 4 bytes and 100 classes, KL on unseen rows with 256 codewords, and with two codes of
# 16 a byte: 0.44 and 0.28 at 50 fitted rows, 0.31 and 0.26 at 200, 0.30 and 0.28 at 800. Large
# codebooks learn few rows by heart.
_MIN_ROWS_PER_CODEWORD = 8
_SMALL_CODEBOOK = 16
# At half the width, twice the codes give a latent, hence a decoder, of the same size.
_SMALL_CODEWORD_WIDTH = 4


def target_config(target_bytes: float, settings: Mapping[str, Any], labels: LabelRows) -> FitConfig:
    """The fit that spends `target_bytes` on every label.

    A byte is one code of 256 codewords; or two codes of 16, if too few rows are fitted to place 256
    codewords.

    Args:
        target_bytes: bytes per label, a whole number from 1 to 256.
        settings: other settings of a `FitConfig`; a codeword width given there is kept.
        labels: labels to fit; only their shape is used.

    Returns:
        A configuration whose rows are exactly `target_bytes` wide.

    Raises:
        InvalidRequestError: no row is that wide, `settings` choose codes or codebooks themselves,
            or one of them is wrong.
    """
    size = whole_bytes(target_bytes)
    expect_unchosen(settings)
    base = parse_fit_config(settings)
    split = Split.of(
        labels.num_rows,
        rows_per_seed=labels.rows_per_seed,
        block_rows=base.block_rows,
        holdout_every=base.holdout_every,
    )
    few = split.seen_rows < _MIN_ROWS_PER_CODEWORD * _CODEBOOK
    chosen: dict[str, Any] = {"codes": size, "codebook_size": _CODEBOOK}
    if few and 2 * size <= MAX_CODES:
        chosen = {"codes": 2 * size, "codebook_size": _SMALL_CODEBOOK}
        if "codeword_width" not in settings:
            chosen["codeword_width"] = _SMALL_CODEWORD_WIDTH
    return parse_fit_config({**settings, **chosen})


def expect_unchosen(settings: Mapping[str, Any]) -> None:
    """Refuse settings that a target determines.

    Raises:
        InvalidRequestError: `settings` holds some; names them.
    """
    rivals = [name for name in _CHOSEN if name in settings]
    if rivals:
        raise InvalidRequestError(
            f"a target of bytes chooses codes and codebook_size: leave out {' and '.join(rivals)},"
            " or the target",
            field=rivals[0],
        )


def whole_bytes(target_bytes: float) -> int:
    """Check that rows can have this many bytes.

    Raises:
        InvalidRequestError: it is not a whole number from 1 to 256.
    """
    if not math.isfinite(target_bytes) or target_bytes != int(target_bytes):
        reason = "a row is whole bytes"
    elif target_bytes < 1:
        reason = "a row has at least one byte"
    elif target_bytes > MAX_TARGET_BYTES:
        reason = f"a row has at most {MAX_CODES} codes of one byte"
    else:
        return int(target_bytes)
    raise InvalidRequestError(
        f"no label has {target_bytes:g} bytes: {reason}; possible are whole numbers from 1 to"
        f" {MAX_TARGET_BYTES}",
        field="target_bytes",
    )


def parse_targets(text: str) -> tuple[int, ...]:
    """Parse targets of a sweep from a command line: ``2,4,8``.

    Args:
        text: whole numbers between commas, ascending.

    Raises:
        InvalidRequestError: they are no numbers, impossible, or not ascending.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise InvalidRequestError(
            f"{text!r} is no list of targets: give bytes a label between commas, such as 2,4,8",
            field="sweep",
        )
    return check_targets(_number(word) for word in words)


def check_targets(targets: Iterable[float]) -> tuple[int, ...]:
    """Check that a sweep can have these targets.

    Raises:
        InvalidRequestError: there are none, or they are impossible or not ascending.
    """
    checked = tuple(whole_bytes(target) for target in targets)
    if not checked:
        raise InvalidRequestError("a sweep needs at least one target", field="sweep")
    for number, target in enumerate(checked[1:]):
        if target == checked[number]:
            raise InvalidRequestError(f"the sweep names {target} twice", field="sweep")
        if target < checked[number]:
            raise InvalidRequestError(
                f"targets of a sweep ascend: {target} comes after {checked[number]}", field="sweep"
            )
    return checked


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InvalidRequestError(
            f"{word!r} is no number of bytes a label", field="sweep"
        ) from None

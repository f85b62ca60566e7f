"""The network that labels."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast.identifiers import Digest, digest_from_hash
from labelcast_producers.relabel.teacher_outputs import choose_logits

# What distributed training and torch.compile put before the names of a network's state.
_COMPILED, _DISTRIBUTED = "_orig_mod.", "module."
# How far a row of probabilities may sum from 1, beside what their type rounds away.
_SUM_TOLERANCE = 2e-3
# So many logits are not all between 0 and 1 by chance.
_TELLING_VALUES = 16
# How torch words tensors of types that do not go together, and memory that there is not.
_TYPES = r"(?i)\b(d|scalar |input |bias )type"
_NO_MEMORY = r"(?i)out of memory|not enough memory|allocate memory"
# Of a forward that wants something else than a batch of images.
_CALLED_WRONGLY = (AttributeError, KeyError, NotImplementedError, TypeError)


class Teacher:
    """A network whose outputs may come in any of the usual containers.

    Args:
        module: images (N, channels, height, width) → logits (N, C), or a tuple, list, dict or
            object that holds them; on its device, in eval mode.
        name: for messages.
        output: path of the logits in what `module` gives, see `choose_logits`; None takes
            `logits` where there is one, or the only tensor.
        from_probabilities: `module` ends in a softmax, so logarithms are taken.
    """

    def __init__(
        self,
        module: nn.Module,
        name: str,
        *,
        output: str | None = None,
        from_probabilities: bool = False,
    ) -> None:
        self.output, self.from_probabilities = output, from_probabilities
        self._module, self._name = module, name
        self._dtype = _dtype_of(module)
        self._gave_logits = False

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Logits of images: float32, shape (N, C), on the CPU.

        Args:
            images: shape (N, channels, height, width), of the module's device and any float type.

        Raises:
            InvalidRequestError: the module fails on the images, whatever it raises, which is the
                cause of this error; or it gives no one tensor of logits.
            LabelValueError: probabilities come where logits are expected, which shows in the first
                batch, or the other way round.
        """
        images = images.to(self._dtype)
        try:
            given = self._module(images)
        # A teacher is anybody's code, and may raise anything.
        except Exception as error:
            raise InvalidRequestError(
                f"the teacher {self._name} fails on {images.dtype} images of shape"
                f" {tuple(images.shape)} ({type(error).__name__}: {_first_line(error)});"
                f" {self._way_out(error)}"
            ) from error
        chosen = choose_logits(given, self._name, output=self.output, images=len(images))
        logits = chosen.float().cpu()
        if self.from_probabilities:
            self._expect_probabilities(logits, chosen.dtype)
            # A probability that has become 0 is as good as the least that there is.
            return logits.clamp_min(torch.finfo(torch.float32).tiny).log()
        # One batch tells: later ones, which may be single rows, could look so by chance.
        if not self._gave_logits:
            self._expect_logits(logits, chosen.dtype)
            self._gave_logits = True
        return logits

    def _way_out(self, error: Exception) -> str:
        reason = _first_line(error)
        if re.search(_NO_MEMORY, reason):
            return (
                "label fewer views at a time with relabel --batch-rows (in Python: batch_rows), or"
                " take a larger device with --device"
            )
        if re.search(_TYPES, reason) and (types := set(_dtypes(self._module))) != {torch.float32}:
            return (
                f"its weights are of {' and '.join(sorted(map(str, types)))}, and it also computes"
                " in other types: give it a single one, as teacher.float() does"
            )
        wrap = "wrap it in a torch module whose forward takes a batch of images alone"
        if isinstance(error, _CALLED_WRONGLY) or re.search(_TYPES, reason):
            return wrap
        return f"give it images of the size and channels that it was trained on, or {wrap}"

    def _expect_logits(self, rows: Tensor, dtype: torch.dtype) -> None:
        if are_probabilities(rows, dtype):
            raise LabelValueError(
                f"the teacher {self._name} gives probabilities, not logits: its rows lie between 0"
                " and 1 and sum to 1; take its softmax away, or say --from-probabilities"
                " (in Python: from_probabilities=True)"
            )
        # Logits of so many classes and images lie on both sides of 0, or far above 1.
        within = bool(((rows >= 0) & (rows <= 1)).all()) and bool((rows != rows[:1]).any())
        if within and rows.numel() >= _TELLING_VALUES:
            raise LabelValueError(
                f"the teacher {self._name} gives values between 0 and 1 that do not sum to 1, as"
                " after a sigmoid, not logits; take its sigmoid away, or subtract 1 from all values"
                " if they are logits after all, which changes no label"
            )

    def _expect_probabilities(self, rows: Tensor, dtype: torch.dtype) -> None:
        if not are_probabilities(rows, dtype):
            raise LabelValueError(
                f"the teacher {self._name} gives rows that are no probabilities between 0 and 1"
                " which sum to 1; leave --from-probabilities (in Python: from_probabilities) out"
            )


def are_probabilities(rows: Tensor, dtype: torch.dtype) -> bool:
    """Whether every row is a distribution.

    Args:
        rows: float32, shape (N, C); a single class tells nothing.
        dtype: type in which they were computed, a floating one.
    """
    if rows.ndim != 2 or rows.shape[1] < 2 or not len(rows):
        return False
    tolerance = max(_SUM_TOLERANCE, 2 * torch.finfo(dtype).eps)
    within = bool(((rows >= 0) & (rows <= 1)).all())
    return within and bool(((rows.sum(dim=1) - 1).abs() <= tolerance).all())


def module_digest(module: nn.Module) -> Digest:
    """Identify a network: sha256 over the names, types, shapes and bytes of its state.

    Neither torch.compile nor distributed training, which wrap a network, make it another one.
    """
    hasher = hashlib.sha256(b"labelcast teacher\0")
    for name, tensor in sorted(_plainly_named(module.state_dict()).items()):
        hasher.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest_from_hash(hasher.digest())


def _plainly_named(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {name.replace(_COMPILED, ""): tensor for name, tensor in state.items()}
    while plain and all(name.startswith(_DISTRIBUTED) for name in plain):
        plain = {name.removeprefix(_DISTRIBUTED): tensor for name, tensor in plain.items()}
    return plain


def _dtype_of(module: nn.Module) -> torch.dtype:
    """Type of the first weights, which meet the images."""
    return next(_dtypes(module), torch.float32)


def _dtypes(module: nn.Module) -> Iterator[torch.dtype]:
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            yield tensor.dtype


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]

"""The network that labels, and how its logits are read from what it gives."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labelcast.errors import InvalidRequestError, LabelValueError
from labelcast.identifiers import Digest, digest_from_hash

_LOGITS = "logits"
# What distributed training and torch.compile put before the names of a network's state.
_COMPILED, _DISTRIBUTED = "_orig_mod.", "module."
# How far a row of probabilities may sum from 1, beside what their type rounds away.
_SUM_TOLERANCE = 2e-3
# So many logits are not all between 0 and 1 by chance.
_TELLING_VALUES = 16


class Teacher:
    """A network whose outputs may come in any of the usual containers.

    Args:
        module: images (N, channels, height, width) → logits (N, C), or a tuple, list, dict or
            object that holds them; on its device, in eval mode.
        name: for messages.
        output: key, attribute or position of the logits in what `module` gives; None takes
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
            InvalidRequestError: the module refuses the images, or gives no tensor of logits.
            LabelValueError: probabilities come where logits are expected, which shows in the first
                batch, or the other way round.
        """
        images = images.to(self._dtype)
        try:
            given = self._module(images)
        except RuntimeError as error:
            raise InvalidRequestError(
                f"the teacher {self._name} fails on {images.dtype} images of shape"
                f" {tuple(images.shape)} ({str(error).partition(chr(10))[0]}); give it images of"
                " the size and channels that it was trained on"
            ) from error
        chosen = self._chosen(given)
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

    def _chosen(self, given: object) -> Tensor:
        if isinstance(given, Tensor) and self.output is None:
            return self._floating(given)
        wanted = _LOGITS if self.output is None else self.output
        parts = {
            name: part
            for name, part in [*_parts(given), (wanted, _attribute(given, wanted))]
            if isinstance(part, Tensor) and part.is_floating_point()
        }
        if self.output is None and len(parts) == 1:
            return next(iter(parts.values()))
        chosen = parts.get(wanted)
        if chosen is not None:
            return chosen
        lacks = "that could be logits" if self.output is None else f"named {self.output!r}"
        raise InvalidRequestError(
            f"the teacher {self._name} gives a {type(given).__name__} with no one tensor {lacks};"
            f" {_advice(given, parts)}"
        )

    def _floating(self, given: Tensor) -> Tensor:
        if given.is_floating_point():
            return given
        raise InvalidRequestError(
            f"the teacher {self._name} gives {given.dtype} values, which are no logits;"
            " name a teacher that gives one floating number per class"
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
    for tensors in (module.parameters(), module.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.dtype
    return torch.float32


def _attribute(given: object, name: str) -> object:
    """An attribute by name, which may be a property; None where there is none."""
    return None if isinstance(given, Tensor | Mapping) else getattr(given, name, None)


def _parts(given: object) -> Iterator[tuple[str, Any]]:
    """What an output holds, by key, position and attribute."""
    if isinstance(given, Mapping):
        yield from ((str(key), value) for key, value in given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str):
        yield from ((str(position), value) for position, value in enumerate(given))
        yield from getattr(given, "_asdict", dict)().items()
    elif hasattr(given, "__dict__"):
        yield from vars(given).items()


def _advice(given: object, parts: Mapping[str, Tensor]) -> str:
    if isinstance(given, Tensor):
        return "leave --teacher-output (in Python: output) out"
    if not parts:
        return "name a teacher that gives one floating number per class"
    told = ", ".join(f"{name} {tuple(part.shape)}" for name, part in parts.items())
    return f"name one with --teacher-output (in Python: output): {told}"

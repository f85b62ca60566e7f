"""Which tensor of what a teacher gives holds its logits.

Rules:
  * every floating tensor counts, however deep it lies: one that is overlooked leaves another as
    "the only one", and features would be delivered as labels;
  * where several could be meant, none is taken: all are named by path, and the user chooses.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from labelcast.errors import InvalidRequestError

_LOGITS = "logits"
_MOST_NAMED = 12


def choose_logits(given: object, teacher: str, *, output: str | None, images: int) -> Tensor:
    """Find the logits in what a teacher gives.

    Args:
        given: a tensor, or tuples, lists, mappings or objects that hold tensors at any depth.
        teacher: name of the teacher, for messages.
        output: path of the logits: keys, attributes and positions, joined by dots, such as "1" or
            "outputs.logits". None takes `logits` at the top where there is one, else the only
            floating tensor; single numbers, such as a loss, are not counted.
        images: number of images that were shown, N.

    Returns:
        Floating, shape (N, C), of the teacher's device.

    Raises:
        InvalidRequestError: there is no such tensor, more than one could be meant, or it is of
            another shape; says what can be named.
    """
    chosen = _choose(given, teacher, output)
    if not chosen.is_floating_point():
        raise InvalidRequestError(
            f"the teacher {teacher} gives {chosen.dtype} values, which are no logits;"
            " name a teacher that gives one floating number per class"
        )
    if chosen.ndim != 2 or len(chosen) != images:
        raise InvalidRequestError(
            f"the teacher {teacher} gives a tensor of shape {tuple(chosen.shape)} for {images}"
            " images, and logits have a row for each image and a column for each class; wrap it in"
            " a torch module that returns its logits so"
        )
    return chosen


def _choose(given: object, teacher: str, output: str | None) -> Tensor:
    if isinstance(given, Tensor) and output is None:
        return given
    wanted = _LOGITS if output is None else output
    found = [
        (path, tensor)
        for path, tensor in [*_tensors(given), (wanted, _attribute(given, wanted))]
        if isinstance(tensor, Tensor) and tensor.is_floating_point()
    ]
    chosen = _distinct(tensor for path, tensor in found if path == wanted)
    if not chosen and output is None:
        chosen = _distinct(tensor for _, tensor in found if tensor.ndim)
    if len(chosen) == 1:
        return chosen[0]
    lacks = "that could be logits" if output is None else f"named {output!r}"
    raise InvalidRequestError(
        f"the teacher {teacher} gives a {type(given).__name__} with no one tensor {lacks};"
        f" {_advice(given, found)}"
    )


def _tensors(given: object, path: str = "", inside: tuple[int, ...] = ()) -> Iterator[Any]:
    """Every tensor with its path, depth first; more than once where several paths lead to it."""
    if isinstance(given, Tensor):
        yield path, given
    elif id(given) not in inside:
        for name, part in _parts(given):
            yield from _tensors(part, f"{path}.{name}" if path else name, (*inside, id(given)))


def _parts(given: object) -> Iterator[tuple[str, object]]:
    """What a container holds, by key, position and attribute."""
    if isinstance(given, Mapping):
        yield from ((str(key), value) for key, value in given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes | range):
        yield from ((str(position), value) for position, value in enumerate(given))
        yield from getattr(given, "_asdict", dict)().items()
    elif not isinstance(given, nn.Module | type):
        slots = (getattr(kind, "__slots__", ()) for kind in type(given).__mro__)
        names = [name for of in slots for name in ([of] if isinstance(of, str) else of)]
        yield from ((name, getattr(given, name, None)) for name in names if name != "__dict__")
        yield from getattr(given, "__dict__", {}).items()


def _attribute(given: object, name: str) -> object:
    """An attribute by name, which may be a property; None where there is none."""
    return None if isinstance(given, Tensor | Mapping) else getattr(given, name, None)


def _distinct(tensors: Iterable[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _advice(given: object, found: Sequence[tuple[str, Tensor]]) -> str:
    if isinstance(given, Tensor):
        return "leave --teacher-output (in Python: output) out"
    named = dict.fromkeys(f"{path} {tuple(tensor.shape)}" for path, tensor in found if tensor.ndim)
    if not named:
        return "name a teacher that gives one floating number per class"
    told = ", ".join(list(named)[:_MOST_NAMED])
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return (
        f"name one with --teacher-output (in Python: output): {told}{more}; or wrap the teacher in"
        " a torch module that returns its logits alone"
    )

"""From a pickle's value to a tree that any code may walk."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelcast_producers.torchfile.constructors import Known, PendingArray
from labelcast_producers.torchfile.limits import FileErrors, Limits
from labelcast_producers.torchfile.tensors import LazyTensor

_PLAIN = frozenset({int, float, str, bytes, bool, type(None)})
_CONTAINERS = frozenset({list, tuple, dict, OrderedDict})


class Finisher:
    """Copies a pickle's value, replaces every tensor and array, and bounds the size of the result.

    Whatever the file shares stays shared: each container, tensor and array is copied once.

    Args:
        tensor: gives the replacement of a tensor.
        array: gives the replacement of a pickled array.
        limits: limits of the file; `max_values` and `max_depth` are checked here.
        errors: errors of the file.
    """

    def __init__(
        self,
        tensor: Callable[[LazyTensor], Any],
        array: Callable[[NDArray[Any]], Any],
        limits: Limits,
        errors: FileErrors,
    ) -> None:
        self._tensor = tensor
        self._array = array
        self._limits = limits
        self._errors = errors
        # By identity, which the original value keeps unique: the copy, and how many values and
        # levels it holds with everything shared counted as often as it is reached.
        self._done: dict[int, tuple[Any, int, int]] = {}

    def finish(self, value: Any) -> Any:
        """Make the tree.

        Args:
            value: output of `Machine.run`.

        Raises:
            LabelFileError: there are too many values, too many levels (as in a container that holds
                itself), or tokens; and whatever `tensor` raises.
        """
        return self._copy(value, depth=0)[0]

    def _copy(self, value: Any, depth: int) -> tuple[Any, int, int]:
        if type(value) in _PLAIN:
            return value, 1, 0
        done = self._done.get(id(value))
        if done is None:
            done = self._copy_new(value, depth)
            self._done[id(value)] = done
        return done

    def _copy_new(self, value: Any, depth: int) -> tuple[Any, int, int]:
        if type(value) in _CONTAINERS:
            return self._copy_container(value, depth)
        if isinstance(value, LazyTensor):
            return self._tensor(value), 1, 0
        if isinstance(value, PendingArray) and value.values is not None:
            return self._array(value.values), 1, 0
        if isinstance(value, np.generic):
            return value, 1, 0
        kind = value.name if isinstance(value, Known) else type(value).__name__
        raise self._errors.foreign(
            f"holds a {kind} as a value; save tensors, arrays, numbers, strings,"
            " lists and dictionaries"
        )

    def _copy_container(self, value: Any, depth: int) -> tuple[Any, int, int]:
        if depth >= self._limits.max_depth:
            raise self._too_deep()
        if len(value) > self._limits.max_values:
            raise self._errors.excessive("holds too many values")
        children = value.values() if isinstance(value, dict) else value
        copies: list[Any] = []
        count, height = 1, 0
        for child in children:
            # Told apart here as well: lists of millions of integers are real.
            if type(child) in _PLAIN:
                copies.append(child)
                count += 1
                continue
            copy, child_count, child_height = self._copy(child, depth + 1)
            copies.append(copy)
            count += child_count
            height = max(height, child_height)
        if count > self._limits.max_values:
            raise self._errors.excessive("holds too many values")
        # Deep trees can be put together from shallow ones that were copied before.
        if height >= self._limits.max_depth:
            raise self._too_deep()
        return _like(value, copies), count, height + 1

    def _too_deep(self) -> Exception:
        return self._errors.foreign(
            f"holds containers more than {self._limits.max_depth} deep, or one that holds itself;"
            " save it flatter"
        )


def _like(value: Any, copies: list[Any]) -> Any:
    if isinstance(value, dict):
        return type(value)(zip(value, copies, strict=True))
    return tuple(copies) if isinstance(value, tuple) else copies

"""Opens a file: reads the directory and the pickle at once, tensors on request."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from labelcast_producers.torchfile.archive import Archive
from labelcast_producers.torchfile.constructors import Constructors
from labelcast_producers.torchfile.limits import DEFAULT, Limits
from labelcast_producers.torchfile.machine import Machine
from labelcast_producers.torchfile.tensors import LazyTensor, TensorInfo
from labelcast_producers.torchfile.tree import Finisher


class TorchFile:
    """An open file; a context manager. Made by `open_torch_file`.

    Attributes:
        tree: the saved value, with a `LazyTensor` for each tensor, readable until the file is
            closed. The rest is as in `read_torch_file`.
    """

    def __init__(self, archive: Archive, tree: Any) -> None:
        self._archive = archive
        self.tree = tree

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays that were read stay valid."""
        self._archive.close()


def open_torch_file(path: Path, *, limits: Limits = DEFAULT, verify: bool = False) -> TorchFile:
    """Open a file that `torch.save` wrote, to read some of its tensors.

    Args:
        path: a zip file as torch has written since 1.6, under any name.
        limits: limits on what it may cost to open.
        verify: whether to check the values of tensors against their checksums, which takes longer
            than reading them; everything else is always checked.

    Returns:
        The open file; the caller closes it. Tensors that share values in the file share them here
        too, for as long as one of their arrays is alive.

    Raises:
        LabelFileError: it is unreadable, of another format, damaged, beyond `limits`, or holds
            anything but data; then `facts["forbidden"]` names what it wants to run.
    """
    archive = Archive(path, limits, verify=verify)
    try:
        tree = _tree(archive, limits, tensor=_itself, array=_itself)
    except BaseException:
        archive.close()
        raise
    return TorchFile(archive, tree)


def read_torch_file(path: Path, *, limits: Limits = DEFAULT, verify: bool = False) -> Any:
    """Read a file that `torch.save` wrote, running nothing that it names.

    Args:
        path: see `open_torch_file`.
        limits: limits on what it may cost to open.
        verify: see `open_torch_file`.

    Returns:
        The saved value: lists, tuples, dictionaries, OrderedDicts, strings, bytes, numbers, None.
        Tensors and pickled arrays become read-only arrays of the same shape and type, without axes
        for a tensor without axes; bfloat16 becomes float32, exactly. Numpy scalars stay numpy
        scalars.

    Raises:
        LabelFileError: as `open_torch_file`; or a tensor is cut off or damaged.
    """
    with Archive(path, limits, verify=verify) as archive:
        return _tree(archive, limits, tensor=LazyTensor.read, array=_itself)


def read_torch_structure(path: Path, *, limits: Limits = DEFAULT) -> Any:
    """Read types and shapes of a file's content, without touching the bytes of its tensors.

    Args:
        path: see `open_torch_file`.
        limits: limits on what it may cost to open.

    Returns:
        As `read_torch_file`, with a `TensorInfo` for each tensor and pickled array.

    Raises:
        LabelFileError: see `open_torch_file`.
    """
    with Archive(path, limits, verify=False) as archive:
        return _tree(archive, limits, tensor=_tensor_info, array=_array_info)


def _tree(
    archive: Archive,
    limits: Limits,
    *,
    tensor: Callable[[LazyTensor], Any],
    array: Callable[[NDArray[Any]], Any],
) -> Any:
    size = archive.size_of("data.pkl") or 0
    if size > limits.max_pickle_bytes:
        raise archive.errors.excessive(f"has {size} bytes besides its tensors")
    content = archive.read_record("data.pkl")
    constructors = Constructors(archive, limits, len(content))
    value = Machine(content, constructors, limits, archive.errors).run()
    return Finisher(tensor, array, limits, archive.errors).finish(value)


def _itself(value: Any) -> Any:
    return value


def _tensor_info(tensor: LazyTensor) -> TensorInfo:
    return tensor.info


def _array_info(array: NDArray[Any]) -> TensorInfo:
    return TensorInfo(array.dtype, array.shape, array.dtype.name, is_tensor=False)

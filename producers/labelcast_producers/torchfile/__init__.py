"""Files that `torch.save` wrote, read as data: nothing that a file names is imported or run.

    limits        what a file may cost, and its errors
    packed        what compressed files begin with
    archive       the zip container: a directory of stored entries
    tensors       storages and strided views of them, read on request
    constructors  the few names a pickle may call, and what stands in for each
    machine       the part of the pickle language in which data is written
    tree          the finished value, of bounded size and depth
    opening       what others use: open, read, or read the structure alone

Only numpy is needed. Every error is a `LabelFileError` that names the file.
"""

from labelcast_producers.torchfile.limits import Limits
from labelcast_producers.torchfile.opening import (
    TorchFile,
    open_torch_file,
    read_torch_file,
    read_torch_structure,
)
from labelcast_producers.torchfile.packed import how_packed
from labelcast_producers.torchfile.tensors import LazyTensor, TensorInfo

__all__ = [
    "LazyTensor",
    "Limits",
    "TensorInfo",
    "TorchFile",
    "how_packed",
    "open_torch_file",
    "read_torch_file",
    "read_torch_structure",
]

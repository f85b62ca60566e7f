import itertools
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labelcast_producers.torchfile import (
    LazyTensor,
    TensorInfo,
    open_torch_file,
    read_torch_file,
    read_torch_structure,
)
from tests.producers.torchfile.archives import same, write_archive

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.bfloat16,
]


def as_numpy(tensor: torch.Tensor) -> Any:
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def random_tensor(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 50
    return values > 0 if dtype == torch.bool else values.abs().to(dtype)


def saved(path: Path, value: object, **options: Any) -> Path:
    torch.save(value, path, **options)
    return path


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_and_shape(tmp_path: Path, dtype: torch.dtype, verify: bool) -> None:
    base = random_tensor(6, 4, 5, dtype=dtype)
    tensors = [
        base,
        base.permute(2, 0, 1),
        base[1:5:2, 1:, ::3],
        base[2, 3, 4],
        base[3:3],
        base[:, :0].permute(1, 2, 0),
        random_tensor(dtype=dtype),
        torch.zeros(0, dtype=dtype),
        torch.zeros(3, 0, 2, dtype=dtype),
        random_tensor(1, 1, dtype=dtype).expand(3, 2),
    ]
    path = saved(tmp_path / "a.tar", tensors)
    expected = [as_numpy(tensor) for tensor in tensors]
    found = read_torch_file(path, verify=verify)
    assert same(found, expected)
    assert not any(array.flags.writeable for array in found if array.size)
    assert read_torch_structure(path) == [
        TensorInfo(array.dtype, array.shape, str(dtype).removeprefix("torch."))
        for array in expected
    ]


def test_bfloat16_is_exact_for_every_value(tmp_path: Path) -> None:
    values = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    found = read_torch_file(saved(tmp_path / "a.pt", values))
    assert found.view(np.uint32).tolist() == values.float().numpy().view(np.uint32).tolist()


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_everything_that_is_not_a_tensor(tmp_path: Path, protocol: int) -> None:
    value = [
        OrderedDict([("b", (1, -1)), ("a", {})]),
        {3: None, "x": [True, False], -(2**40): 0.25},
        (),
        ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        "nämlich",
        "x" * 300,
        b"\x00\xff" * 200,
        b"",
        [0, 255, 256, 65535, 65536, 2**31, -(2**31), 2**63, -(2**70)],
        list(range(3000)),
        float("inf"),
    ]
    path = saved(tmp_path / "a.pt", value, pickle_protocol=protocol)
    assert same(read_torch_file(path), value)
    assert same(read_torch_structure(path), value)


@pytest.mark.parametrize("protocol", [2, 4])
def test_scalars_and_arrays_of_numpy(tmp_path: Path, protocol: int) -> None:
    value = [
        *(np.dtype(name).type(1) for name in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")),
        *(np.dtype(name).type(-0.5) for name in ("f2", "f4", "f8")),
        np.arange(256, dtype=np.uint8),
        np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(6.0).reshape(2, 3).T,
        np.array([True, False]),
        np.zeros((0, 3)),
        np.array(7),
    ]
    path = saved(tmp_path / "a.pth.tar", value, pickle_protocol=protocol)
    assert same(read_torch_file(path), value)
    array = read_torch_structure(path)[13]
    assert array == TensorInfo(np.dtype(np.float32), (2, 3, 4), "float32", is_tensor=False)


@pytest.mark.parametrize("core", ["_core", "core"])
def test_both_names_of_numpys_core(tmp_path: Path, core: str) -> None:
    value = [np.int64(3), np.arange(4.0)]
    pickled = pickle.dumps(value, 2)
    # The name is ended by its line, so no length has to change with it.
    pickled = pickled.replace(b"cnumpy._core.", b"cnumpy.core.")
    pickled = pickled.replace(b"cnumpy.core.", f"cnumpy.{core}.".encode())
    assert same(read_torch_file(write_archive(tmp_path / "a.pt", pickled)), value)


def test_the_files_of_sre2l(tmp_path: Path) -> None:
    value = [
        torch.rand(8, 4),
        torch.rand(8) > 0.5,
        torch.randperm(8),
        0.25,
        [np.int64(1), np.int64(2), np.int64(3), np.int64(4)],
        torch.randn(8, 10).half(),
    ]
    found = read_torch_file(saved(tmp_path / "batch_0.tar", value))
    assert same(
        found, [as_numpy(part) if isinstance(part, torch.Tensor) else part for part in value]
    )
    assert [type(side) for side in found[4]] == [np.int64] * 4


def test_tensors_of_no_dimension_are_no_scalars(tmp_path: Path) -> None:
    tensor, scalar = read_torch_file(
        saved(tmp_path / "a.pt", [torch.tensor(3, dtype=torch.uint8), np.uint8(3)])
    )
    assert isinstance(tensor, np.ndarray)
    assert tensor.shape == ()
    assert isinstance(scalar, np.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_shared_storages_are_read_once(tmp_path: Path, dtype: torch.dtype) -> None:
    base = random_tensor(4, 6, dtype=dtype)
    path = saved(tmp_path / "a.pt", [base, base[1], base.T, [base]])
    whole, row, turned, (again,) = read_torch_file(path)
    assert same([whole, row, turned], [as_numpy(x) for x in (base, base[1], base.T)])
    assert np.shares_memory(whole, row)
    assert np.shares_memory(whole, turned)
    assert again is whole
    with open_torch_file(path) as file:
        first = file.tree[0].read()
        assert np.shares_memory(first, file.tree[1].read())


def test_lazy_tensors_are_read_one_by_one(tmp_path: Path) -> None:
    value = {"a": torch.arange(5), "b": torch.arange(3.0)}
    path = saved(tmp_path / "a.pt", value)
    with open_torch_file(path) as file:
        lazy = file.tree["a"]
        assert isinstance(lazy, LazyTensor)
        assert lazy.shape == (5,)
        assert lazy.dtype == np.int64
        array = lazy.read()
        assert "numpy" not in repr(lazy)
    assert same(array, np.arange(5))
    with pytest.raises(ValueError, match="closed"):
        file.tree["b"].read()


def test_structure_does_not_touch_values(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", [torch.ones(1000)])
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("a/data/0").header_offset
    content[start : start + 4] = bytes(4)
    path.write_bytes(content)
    assert read_torch_structure(path) == [TensorInfo(np.dtype("f4"), (1000,), "float32")]


def test_the_name_of_the_file_means_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a b.whatever", [1])
    path = path.rename(tmp_path / "other.tar")
    assert read_torch_file(path) == [1]


def test_what_requires_grad_and_lies_elsewhere(tmp_path: Path) -> None:
    value = torch.ones(2, requires_grad=True)
    assert same(read_torch_file(saved(tmp_path / "a.pt", value)), np.ones(2, np.float32))


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(-100, 100), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(TREES, st.integers(2, 5))
def test_any_tree(tmp_path_factory: pytest.TempPathFactory, tree: Any, protocol: int) -> None:
    path = tmp_path_factory.getbasetemp() / "tree.pt"
    assert same(read_torch_file(write_archive(path, pickle.dumps(tree, protocol))), tree)


@given(st.data())
def test_any_view(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    sides = data.draw(st.lists(st.integers(0, 4), max_size=4))
    strides = data.draw(st.lists(st.integers(0, 9), min_size=len(sides), max_size=len(sides)))
    offset = data.draw(st.integers(0, 5))
    reach = offset + sum(side * stride for side, stride in zip(sides, strides, strict=True)) + 1
    tensor = torch.arange(reach, dtype=torch.int16).as_strided(sides, strides, offset)
    path = saved(tmp_path_factory.getbasetemp() / "view.pt", tensor)
    assert same(read_torch_file(path), tensor.numpy())
    for index in itertools.islice(np.ndindex(*sides), 3):
        assert read_torch_file(path)[index] == tensor[index].item()

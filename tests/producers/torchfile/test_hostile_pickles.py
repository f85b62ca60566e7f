import builtins
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from labelcast.errors import LabelFileError
from labelcast_producers.torchfile import (
    Limits,
    open_torch_file,
    read_torch_file,
    read_torch_structure,
)
from labelcast_producers.torchfile.constructors import KNOWN
from tests.producers.torchfile.archives import (
    FOUR_FLOATS,
    group,
    named,
    number,
    numpy_array,
    numpy_dtype,
    numpy_scalar,
    program,
    storage,
    tensor,
    text,
    write_archive,
)


class Calls:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self._call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


def refusal(path: Path, **options: Any) -> LabelFileError:
    """The one error that all ways of opening a file give."""
    errors = []
    for read in (read_torch_structure, read_torch_file, open_torch_file):
        with pytest.raises(LabelFileError) as caught:
            read(path, **options)
        errors.append(caught.value)
        assert str(path) in caught.value.message
        assert caught.value.facts["path"] == str(path)
    assert len({error.message for error in errors}) == 1
    return errors[0]


def refused(path: Path, *parts: bytes, **storages: bytes) -> LabelFileError:
    return refusal(write_archive(path, program(*parts), {"0": FOUR_FLOATS, **storages}))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.tar"


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "sentinel"


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_calls_are_refused_by_name_and_nothing_runs(
    path: Path, sentinel: Path, protocol: int
) -> None:
    command = f"touch {sentinel}"
    for call, name in [
        (Calls(os.system, command), f"{os.system.__module__}.system"),
        (Calls(builtins.eval, f"open({str(sentinel)!r}, 'w')"), "eval"),
        (Calls(builtins.exec, f"open({str(sentinel)!r}, 'w')"), "exec"),
        (Calls(builtins.getattr, "text", "upper"), "getattr"),
        (Calls(torch.load, str(sentinel)), "torch.serialization.load"),
        (Calls(np.load, str(sentinel)), "numpy.load"),
        (Path(str(sentinel)), "pathlib."),
    ]:
        error = refusal(write_archive(path, pickle.dumps([1, {"a": (call, 2)}], protocol)))
        # Protocol 0 begins with an opcode that is refused before any name comes.
        assert (name if protocol else "pickle opcode") in error.facts["forbidden"]
        assert not sentinel.exists()


def test_torch_saves_what_is_refused(path: Path) -> None:
    torch.save({"a": Calls(os.system, "true")}, path)
    assert "system" in refusal(path).facts["forbidden"]
    torch.save(torch.nn.Parameter(torch.ones(1)), path)
    assert refusal(path).facts["forbidden"] == "torch._utils._rebuild_parameter"
    torch.save(torch.nn.Linear(1, 1), path)
    assert "torch.nn" in refusal(path).facts["forbidden"]


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        ([b"(", text("true"), b"ios\nsystem\n"], "os.system"),
        ([b"(", b"cos\nsystem\n", text("true"), b"o"], "os.system"),
        ([b"\x82\x01"], "pickle opcode EXT1"),
        ([b"\x83\x01\x00"], "pickle opcode EXT2"),
        ([b"\x84\x01\x00\x00\x00"], "pickle opcode EXT4"),
        ([b"P0\n"], "pickle opcode PERSID"),
        ([b"\x8f"], "pickle opcode EMPTY_SET"),
        ([b"\x97"], "pickle opcode NEXT_BUFFER"),
        ([named("collections.OrderedDict"), b")\x81"], "pickle opcode NEWOBJ"),
        ([named("collections.OrderedDict"), b")}\x92"], "pickle opcode NEWOBJ_EX"),
        ([text("os"), text("system"), b"\x93"], "os.system"),
        ([text("collections"), text("OrderedDict.fromkeys"), b"\x93"], "OrderedDict.fromkeys"),
        ([named("torch._utils._rebuild_tensor_v2.__globals__")], "__globals__"),
        ([named("os.system\x1b[31m")], "os.system?[31m"),
        ([named("os." + "x" * 500)], "xxx..."),
        (
            [named("collections.OrderedDict"), b"}", text("__code__"), b"Nsb"],
            "OrderedDict.__setstate__",
        ),
        ([named("torch.FloatStorage"), b"}b"], "FloatStorage.__setstate__"),
        ([named("collections.OrderedDict"), b")R}", text("items"), b"Nsb"], "__setstate__"),
        ([storage(), b"}b"], "Storage.__setstate__"),
        ([tensor(), b"}b"], "LazyTensor.__setstate__"),
        ([b"]}b"], "list.__setstate__"),
        ([b"N}b"], "NoneType.__setstate__"),
    ],
)
def test_other_ways_to_code(path: Path, parts: list[bytes], name: str) -> None:
    assert name in refused(path, *parts).facts["forbidden"]


@pytest.mark.parametrize(
    "part",
    [
        tensor(offset=1),
        tensor(offset=-1),
        tensor(offset=2**70),
        tensor(shape=(5,)),
        tensor(shape=(-1,)),
        tensor(shape=(2**62, 2**62), strides=(0, 0)),
        tensor(shape=(2**70,)),
        tensor(shape=(2**40,), strides=(0,)),
        tensor(shape=(0, 2**61, 2**61), strides=(1, 1, 1)),
        tensor(shape=(2, 2), strides=(3, 1)),
        tensor(shape=(2,), strides=(-1,), offset=1),
        tensor(shape=(2, 2), strides=(2,)),
        tensor(shape=(1,) * 65, strides=(1,) * 65),
        tensor(of=text("0")),
        tensor(of=storage(count=5)),
        tensor(of=storage(count=3)),
        tensor(of=storage(count=-4)),
        tensor(of=storage(count=2**70)),
        tensor(of=storage(kind="torch.DoubleStorage")),
        tensor(of=storage(key="1")),
        tensor(of=storage(key="../data.pkl")),
        tensor(of=storage(key="/etc/passwd")),
        tensor(of=storage(key="0\n")),
        tensor(of=storage(key="\u0660")),
        tensor(of=storage(key="9" * 400)),
        tensor(of=storage(kind="collections.OrderedDict")),
        b"]" + tensor() + tensor(of=storage(kind="torch.IntStorage")) + b"e",
        b"]" + tensor() + b"a" + tensor(of=storage(kind="torch.IntStorage")) + b"a",
        storage(),
        text("storage") + b"Q",
        b")Q",
        named("torch._utils._rebuild_tensor_v2") + b")R",
        named("torch._utils._rebuild_tensor_v2") + b"NR",
        named("torch.FloatStorage"),
        named("torch.FloatStorage") + b")R",
        named("numpy.ndarray") + b")R",
        named("collections.OrderedDict") + b"]\x85R",
        text("text") + b")R",
        b"]" + text("value") + number(1) + b"s",
        b"}N" + number(1) + b"s",
        b"}" + number(2**80) + number(1) + b"s",
        b"})Ns",
        b"}(" + text("a") + b"u",
        b")" + number(1) + b"a",
        named("numpy.dtype"),
        named("numpy.core.multiarray._reconstruct"),
        named("numpy.dtype") + group(text("f4"), b"\x89", b"\x88") + b"R",
    ],
)
def test_impossible_data(path: Path, part: bytes) -> None:
    refused(path, part)


@pytest.mark.parametrize(
    "part",
    [
        numpy_scalar(numpy_dtype("f4"), bytes(3)),
        numpy_scalar(numpy_dtype("f4"), bytes(8)),
        numpy_scalar(numpy_dtype("b1"), b"\x02"),
        numpy_scalar(numpy_dtype("O8"), bytes(8)),
        numpy_scalar(numpy_dtype("V8"), bytes(8)),
        numpy_scalar(numpy_dtype("S8"), bytes(8)),
        numpy_scalar(numpy_dtype("M8"), bytes(8)),
        numpy_scalar(numpy_dtype("f4,f4"), bytes(8)),
        numpy_scalar(
            numpy_dtype("f4", group(number(3), text(">"), b"NNN" + number(0) * 3)), bytes(4)
        ),
        numpy_scalar(
            numpy_dtype("f4", group(number(3), text("<"), b")N)" + number(0) * 3)), bytes(4)
        ),
        numpy_scalar(numpy_dtype("f4", group(numpy_dtype("f4"), numpy_dtype("f4"))), bytes(4)),
        numpy_scalar(numpy_dtype("f4", b"N"), bytes(4)),
        numpy_scalar(text("f4"), bytes(4)),
        numpy_array(numpy_dtype("f4"), bytes(7), 2),
        numpy_array(numpy_dtype("f4"), bytes(8), 3),
        numpy_array(numpy_dtype("f4"), bytes(8), 1),
        numpy_array(numpy_dtype("f4"), bytes(8), -2),
        numpy_array(numpy_dtype("f4"), bytes(0), 0, 2**63),
        numpy_array(numpy_dtype("f4"), bytes(8), 2**32, 2**32),
        numpy_array(numpy_dtype("O8"), bytes(8), 1),
        numpy_array(numpy_dtype("b1"), b"\x00\x01\x7f", 3),
        numpy_array(numpy_dtype("f4"), bytes(4), 1, made_of=named("collections.OrderedDict")),
        numpy_array(numpy_dtype("f4"), bytes(4), 1, made_of=numpy_dtype("f4")),
        numpy_array(numpy_dtype("f4"), bytes(4), 1) + b"Nb",
        named("_codecs.encode") + group(text("ł"), text("latin1")) + b"R",
        named("_codecs.encode") + group(text("x"), text("rot13")) + b"R",
        named("__builtin__.bytes") + number(2**40) + b"\x85R",
        named("_codecs.encode") + group(text("x"), numpy_dtype("f4")) + b"R",
    ],
)
def test_impossible_numpy(path: Path, part: bytes) -> None:
    refused(path, part)


def test_object_arrays_are_refused_by_type(path: Path) -> None:
    for value in (np.array([Calls(os.system, "true")]), np.array(["a"]), np.zeros(2, "f4,i4")):
        torch.save([value], path)
        error = refusal(path)
        assert "numbers only" in error.message or "system" in error.message


def test_bools_that_are_neither_true_nor_false(path: Path) -> None:
    flags = tensor(of=storage(kind="torch.BoolStorage"))
    write_archive(path, program(flags), {"0": b"\x00\x01\x02\x01"})
    with pytest.raises(LabelFileError, match="no bool"):
        read_torch_file(path)


def test_values_that_repeat_beyond_measure(path: Path) -> None:
    assert "repeats" in refused(path, tensor(shape=(2**20,), strides=(0,))).message
    many = b"](" + tensor(shape=(2**16,), strides=(0,)) * 10 + b"e"
    assert "repeats" in refused(path, many).message
    write_archive(path, program(tensor(shape=(2**16,), strides=(0,))), {"0": FOUR_FLOATS})
    assert read_torch_file(path).shape == (2**16,)


def test_text_that_is_encoded_over_and_over(path: Path) -> None:
    once = b"0" + named("_codecs.encode") + b"q\x01" + group(text("x" * 100), text("latin1"))
    again = b"h\x01h\x02Ra"
    assert "pickle opcode POP" in refused(path, b"N", once).facts["forbidden"]
    start = b"]" + once[1:] + b"q\x02Ra"
    assert "encodes more" in refused(path, start, again * 100).message


def test_billions_of_laughs(path: Path) -> None:
    # Hashed or copied, these would take longer than any limit of the test.
    tuples = b"]" + b"q\x01h\x01\x86" * 60
    lists = b"](]" + b"q\x01](h\x01h\x01e" * 60 + b"e"
    for laughs in (tuples, lists):
        assert "too many values" in refused(path, laughs).message
    # As a key they would have to be hashed, which takes as long as they are large.
    assert "dictionary key" in refused(path, b"})", b"q\x01h\x01\x86" * 100, b"Ns").message


def test_depth(path: Path) -> None:
    assert "deep" in refused(path, b"]", b"\x85" * 100_000).message
    assert "dictionary key" in refused(path, b"})", b"\x85" * 100_000, b"Ns").message
    # Each tuple is first met close to the top.
    chain = b"".join(b"h\x01\x85q\x01a" for _ in range(1000))
    assert "deep" in refused(path, b"])q\x01a", chain).message
    limits = Limits(max_depth=3)
    for depth, fits in [(3, True), (4, False)]:
        write_archive(path, program(b"]", b"\x85" * (depth - 1)))
        if fits:
            read_torch_file(path, limits=limits)
        else:
            refusal(path, limits=limits)


def test_containers_that_hold_themselves(path: Path) -> None:
    own: list[Any] = []
    own.append(own)
    mapping: OrderedDict[str, Any] = OrderedDict()
    mapping["own"] = [mapping]
    for value in (own, [own, own], mapping):
        torch.save(value, path)
        assert "holds itself" in refusal(path).message


def test_limits(path: Path) -> None:
    torch.save([[1, 2], [3, 4]], path)
    assert read_torch_file(path, limits=Limits(max_objects=12)) == [[1, 2], [3, 4]]
    for limits in (
        Limits(max_objects=3),
        Limits(max_values=6),
        Limits(max_pickle_bytes=10),
        Limits(max_entries=2),
    ):
        refusal(path, limits=limits)


def test_large_memo_indices_take_no_memory(path: Path) -> None:
    write_archive(path, program(b"]r\xff\xff\xff\xff0"[:-1]))
    assert read_torch_file(path) == []


@pytest.mark.parametrize("opcode", [b"]", b"}", b"(", b")\x85", b"N\x94", b"Nr\0\0\0\0"])
def test_memory_is_bounded(path: Path, opcode: bytes) -> None:
    write_archive(path, program(opcode * 1000))
    assert "too many lists" in refusal(path, limits=Limits(max_objects=999)).message


def test_the_table_of_names_is_what_was_agreed() -> None:
    assert sorted(KNOWN) == sorted(
        [
            "__builtin__.bytes",
            "_codecs.encode",
            "collections.OrderedDict",
            "numpy._core.multiarray._reconstruct",
            "numpy._core.multiarray.scalar",
            "numpy.core.multiarray._reconstruct",
            "numpy.core.multiarray.scalar",
            "numpy.dtype",
            "numpy.ndarray",
            "torch._utils._rebuild_tensor_v2",
            *(
                f"torch.{name}Storage"
                for name in (
                    *("BFloat16", "Bool", "Byte", "Char", "Double"),
                    *("Float", "Half", "Int", "Long", "Short"),
                )
            ),
        ]
    )
    assert not any(map(callable, KNOWN.values()))

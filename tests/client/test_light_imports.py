"""What an edge needs that only decodes: numpy and safetensors, and torch for a device."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import labelcast
import labelcast.torch
from tests.factories.decoded import assert_same_labels
from tests.factories.label_sets import make_label_set

BLOCK = "import sys\nsys.modules |= dict.fromkeys({blocked!r})\n"
HEAVY = ["grpc", "google", "httpx", "typer", "rich", "click"]
DECODE = """
from pathlib import Path
import labelcast.codec, labelcast.augmentation
from labelcast import Views
from labelcast.label_set_directory import LabelSetDirectory
label_set = LabelSetDirectory(Path({directory!r}))
rows = label_set.gather(label_set.index().segments[0].views())
print(label_set.codec().decode(rows).astype(float).tolist())
"""


def run_without(blocked: list[str], code: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked=blocked) + code], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_a_label_set_is_decoded_with_numpy_and_safetensors_alone(tmp_path: Path) -> None:
    label_set, labels = make_label_set(tmp_path, "vqae", num_samples=5)
    code = DECODE.format(directory=str(label_set.directory))
    printed = run_without([*HEAVY, "torch"], code)
    assert_same_labels(np.array(json.loads(printed), dtype=np.float32), labels)


def test_decoding_on_a_device_needs_no_grpc() -> None:
    code = (
        "import labelcast.torch.decoding\n"
        "from labelcast.torch import load_decoder\n"
        "print(load_decoder.__module__)"
    )
    assert run_without(HEAVY, code) == "labelcast.torch.decoding\n"


def test_the_command_line_starts_without_what_single_commands_need() -> None:
    code = "from labelcast.cli.app import app\nprint(len(app.registered_commands))"
    assert int(run_without(["grpc", "google", "httpx", "rich", "torch", "tqdm"], code)) > 10


COMMAND = """
from {module} import main
sys.argv = {words!r}
main()
"""
LABELS = ["--labels", "labels.npy", "--out", "out"]


@pytest.mark.parametrize(
    ("module", "extra", "missing", "words"),
    [
        ("labelcast.cli", "producers", ["torch"], ["fit", *LABELS]),
        ("labelcast.cli", "producers", ["pydantic"], ["fit", *LABELS]),
        ("labelcast.cli", "producers", ["tqdm"], ["encode", *LABELS, "--codec", "raw:fp16"]),
        ("labelcast.cli", "producers", ["pyarrow"], ["inspect", "labels.parquet"]),
        ("labelcast.cli", "producers", ["PIL", "torch"], ["import", "files", "--out", "out"]),
        ("labelcast_server.cli", "server", ["pydantic_settings"], ["serve"]),
        ("labelcast_server.cli", "server", ["redis"], ["doctor"]),
        ("labelcast_server.cli", "server", ["grpc_health"], ["health"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else value,
)
def test_a_command_names_the_extra_that_it_lacks(
    tmp_path: Path, module: str, extra: str, missing: list[str], words: list[str]
) -> None:
    np.save(tmp_path / "labels.npy", np.zeros((8, 4), np.float16))
    (tmp_path / "labels.parquet").write_bytes(b"PAR1" + bytes(16) + b"PAR1")
    code = BLOCK.format(blocked=missing) + COMMAND.format(module=module, words=["program", *words])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert any(name in line for name in missing)
    assert line.endswith(f"pip install 'labelcast[{extra}]'")


@pytest.mark.parametrize("package", [labelcast, labelcast.torch], ids=lambda it: it.__name__)
def test_every_public_name_is_there_and_no_other(package: Any) -> None:
    assert sorted(package._HOMES) == sorted(package.__all__)
    for name in package.__all__:
        value = getattr(package, name)
        assert (getattr(value, "__name__", None) or value.name) == name
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = package.Nothing

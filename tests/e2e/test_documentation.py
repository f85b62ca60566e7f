"""The examples of docs that need a service or a label set, run as a reader would run them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from labelcast import Tls
from labelcast.errors import NotFoundError
from labelcast.label_set_directory import LabelSetDirectory
from labelcast_glyphs.certificates import Pair, options_of
from tests.e2e.running_service import RunningService, running_service
from tests.factories.label_sets import make_label_set

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def label_set(
    service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> LabelSetDirectory:
    made, _ = make_label_set(tmp_path_factory.mktemp("docs") / "local", "vqae", num_samples=300)
    service.push(made, "mine:v1")
    return made


def run(page: str, number: int, directory: Path, changes: dict[str, str]) -> str:
    """Run an example of a page after replacing what it names by what is there."""
    code = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)[number]
    for shown, meant in changes.items():
        assert shown in code, shown
        code = code.replace(shown, meant)
    (directory / "example.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=directory, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_directory_is_decoded_at_the_edge(label_set: LabelSetDirectory) -> None:
    printed = run(
        "start/edge.md",
        0,
        label_set.directory.parent,
        {"# float32, shape (256, C)": "; print(labels.shape)"},
    )
    assert printed == f"(256, {label_set.manifest.contract.num_classes})\n"


# What each example names, and what stands for it here; IDS, SEEDS and DIGEST are the label set's,
# and one of SERVERS is dead.
CASES = {
    ("start/student.md", 2): {
        ", tls=True": "",
        "np.arange(256, dtype=np.uint64)": "IDS",
        "range(3)": "SEEDS",
        "probabilities(temperature=4.0)": "logits()",
    },
    ("start/student.md", 3): {
        ", tls=True": "",
        "range(50_000)": "IDS",
        "range(300)": "SEEDS",
        "cuda": "cpu",
        "import labelcast\n": "import torch\nimport labelcast\nstudent = torch.zeros_like\n",
        "images = ...": "images = torch.empty(len(views), 10)",
        "temperature=1.0)": "temperature=1.0); print(views.sample_ids, (len(coded), 10), loss)",
    },
    ("start/student.md", 4): {
        ", tls=True": "",
        "range(50_000)": "IDS",
        "range(300)": "SEEDS",
        "rank=0, num_ranks=8": "rank=0, num_ranks=1",
    },
    ("guides/dataloader.md", 0): {
        ", tls=True": "",
        "range(256)": "IDS",
        "range(300)": "SEEDS",
        "num_workers=4": "num_workers=1",
        "...\n": "print(views.sample_ids, tuple(soft.shape))\n",
    },
    ("guides/reader.md", 0): {
        ", tls=True": "",
        "label_set.index().sample_ids": "IDS",
        "range(300)": "SEEDS",
        "student(torch.zeros(len(planned.views), 3, 32, 32))": (
            "torch.zeros(len(planned.views), 10, requires_grad=True)"
        ),
        "print(reader.missed)": "print(planned.views, tuple(labels.values.shape))",
    },
    ("guides/reader.md", 1): {
        ", tls=True": "",
        "my-text:v1": "mine:v1",  # Whose samples are as sequences of three.
        "epochs=3": "label_set.index().sample_ids[:1], epochs=3",
        "...  # views": "print(views.sample_ids, labels.values.shape)  # views",
    },
    ("guides/reader.md", 2): {
        ", tls=True": "",
        "label_set.index().sample_ids": "IDS",
        "range(300)": "SEEDS",
        "...  # train on": "print(labels.views.sample_ids, labels.values.shape)  # train on",
    },
    ("guides/federated.md", 0): {
        "sha256:2b5182f8216dd9a22536dac59170d4013832c67506b914176ac9e34d701c942d": "DIGEST",
        ', token="…", tls=True': "",
        "num_classes=1000, temperature=1.0": "num_classes=10",
        "[3, 17, 29]": "IDS",
        "# float32, shape (3, 1000)": "; print(batch.views.sample_ids, labels.shape)",
    },
    ("guides/deploy.md", 1): {
        "labels-1.example.org:7070,labels-2.example.org:7070": "SERVERS",
        ", tls=True": "",
        "[3, 17, 29], 7": "ids, 0",
        "labels = ": "ids = label_set.index().sample_ids[:3]\nlabels = ",
        "# float32, shape (3, 1000)": "; print(ids, labels.shape)",
    },
}


@pytest.mark.parametrize(("page", "number"), CASES, ids=str)
def test_labels_come_from_a_service(
    service: RunningService, label_set: LabelSetDirectory, tmp_path: Path, page: str, number: int
) -> None:
    (segment,) = label_set.index().segments
    ids, seeds = segment.sample_ids[:3].tolist(), segment.seeds.tolist()
    there = {"IDS": str(ids), "SEEDS": str(seeds), "DIGEST": label_set.digest}
    there["SERVERS"] = f"127.0.0.1:9,{service.grpc}"
    changes = {shown: there.get(meant, meant) for shown, meant in CASES[page, number].items()}
    printed = run(page, number, tmp_path, {"labels.example.org:7070": service.grpc} | changes)
    assert str(ids[0]) in printed
    assert "(3, 10)" in printed


def test_a_service_runs_with_the_certificates_that_are_described(tmp_path: Path) -> None:
    page = (DOCS / "guides" / "deploy.md").read_text().replace("\\\n", " ")
    authority, service_s = re.findall(r"^openssl .*$", page, re.MULTILINE)
    student_s = service_s.replace("service.", "student.")
    for command in (authority, service_s, student_s):
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    shown = Pair(tmp_path / "service.pem", tmp_path / "service.key")
    options = (*options_of(shown), "--tls-client-ca", str(tmp_path / "ca.pem"))
    pair = (tmp_path / "student.pem", tmp_path / "student.key")
    tls = Tls(tmp_path / "ca.pem", *pair, server_name="labels.example.org")
    with running_service(tmp_path, *options) as started:
        with started.registry(tls=tls) as registry:
            assert registry.list() == []
        with started.client(tls=tls) as client, pytest.raises(NotFoundError):
            client.open("mine:v1")

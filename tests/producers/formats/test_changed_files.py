"""Files that change while they are imported are refused by name, whatever is in them."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from labelcast.codec.topk import Recovery
from labelcast.errors import LabelFileError
from labelcast_producers.formats.batches import source
from labelcast_producers.formats.batches.record import Record
from labelcast_producers.formats.batches.scanning import require_record
from labelcast_producers.formats.importing import Import
from labelcast_producers.formats.source import ImportOptions
from tests.producers.formats.truth_checks import names, one_line
from tests.producers.formats.writers.apple_dr import write_apple_dr
from tests.producers.formats.writers.arrays import write_arrays
from tests.producers.formats.writers.distilled_sets import write_mtt, write_pdd
from tests.producers.formats.writers.distillkit import EXACT, write_distillkit
from tests.producers.formats.writers.edc import write_edc
from tests.producers.formats.writers.fkd import write_fkd
from tests.producers.formats.writers.gvbsm import write_gvbsm
from tests.producers.formats.writers.hald import write_hald
from tests.producers.formats.writers.lpld import write_lpld
from tests.producers.formats.writers.lpqld import write_lpqld
from tests.producers.formats.writers.sre2l import write_sre2l
from tests.producers.formats.writers.tinyvit import write_tinyvit

OPTIONS = ImportOptions(class_names=names(12), temperature=1.0, recovery=Recovery.RENORMALISE)
BATCHES: dict[str, Any] = {"samples": 12, "epochs": 2, "batch_size": 4, "classes": 12}
VIEWS: dict[str, Any] = {"samples": 12, "epochs": 2, "classes": 12}
SAMPLES: dict[str, Any] = {"samples": 12, "classes": 12}


@dataclass(frozen=True)
class Files:
    """Files of one format, of which a script may write others of the same shapes.

    Attributes:
        write: writes them; takes a seed.
        of: its other arguments.
        file: the pattern of those that hold labels.
        path: what is imported, below the directory.
        options: that they are read with.
    """

    write: Callable[..., object]
    of: dict[str, Any]
    file: str
    path: str = "."
    options: ImportOptions = field(default=OPTIONS)


def arrays(path: Path, *, container: Any, seed: int = 0) -> object:
    return write_arrays(path, container=container, **SAMPLES, seed=seed)


def tokens(path: Path, *, seed: int = 0) -> object:
    return write_distillkit(path, EXACT, lengths=[3, 4, 2], seed=seed)


NAMED = ImportOptions(class_names=names(12))
FILES: dict[str, Files] = {
    "sre2l": Files(write_sre2l, BATCHES, "epoch_1/batch_1.tar", options=NAMED),
    "lpld": Files(write_lpld, BATCHES, "epoch_1/batch_1.tar", options=NAMED),
    "lpqld": Files(write_lpqld, BATCHES, "batch_3.tar", options=NAMED),
    "gvbsm": Files(write_gvbsm, BATCHES, "epoch_1/batch_1.tar", options=NAMED),
    "edc": Files(write_edc, BATCHES, "epoch_1/batch_1.tar", options=NAMED),
    "hald": Files(write_hald, BATCHES, "epoch_1.tar"),
    "fkd": Files(write_fkd, VIEWS | {"label_type": "full"}, "class_003/*.tar"),
    "fkd top-k": Files(write_fkd, VIEWS | {"label_type": "marginal_smoothing_k5"}, "class_003/*"),
    "ml-dr": Files(write_apple_dr, VIEWS, "3.pth.tar"),
    "tinyvit values": Files(write_tinyvit, VIEWS | {"k": 3}, "*_epoch1/rank1-values.bin"),
    "tinyvit keys": Files(write_tinyvit, VIEWS | {"k": 3}, "*_epoch1/rank1-keys.txt"),
    "distillkit": Files(
        tokens, {}, "data_0.parquet", options=ImportOptions(recovery=Recovery.ZERO)
    ),
    "mtt": Files(write_mtt, SAMPLES, "labels_best.pt", options=NAMED),
    "pdd": Files(write_pdd, {"classes": 12}, "interval3_*/labels_best.pt", options=NAMED),
    **{
        container: Files(
            arrays, {"container": container}, f"labels.{container}", f"labels.{container}", NAMED
        )
        for container in ("npy", "npz", "safetensors", "parquet")
    },
}


def write(labels: Import, out: Path) -> object:
    return labels.write_dense(out) if labels.keeps_dense else labels.write_label_set(out)


@pytest.mark.parametrize("name", FILES)
def test_another_file_of_the_same_shapes(name: str, tmp_path: Path) -> None:
    """As a copy that keeps the time of change: neither size nor that time tells it."""
    files, place, others = FILES[name], tmp_path / "files", tmp_path / "others"
    files.write(place, **files.of)
    files.write(others, **files.of, seed=1)
    labels = Import.open(place / files.path, files.options)
    (file,) = list(place.glob(files.file))[:1]
    (other,) = list(others.glob(str(file.relative_to(place))))
    shutil.copystat(file, other)
    other.replace(file)
    with pytest.raises(LabelFileError) as raised:
        write(labels, tmp_path / "out")
    one_line(raised.value, f"{file} has changed since it was scanned; import it again")
    for finished in ("labels.json", "manifest.json"):
        assert not (tmp_path / "out" / finished).exists()
    write(Import.open(place / files.path, files.options), tmp_path / "again")


def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sre2l(tmp_path, **BATCHES)
    labels = Import.open(tmp_path, NAMED).source
    part = labels.parts[4]

    def slowly(*record: Any) -> Record:
        part.path.touch()
        return require_record(*record)

    # No test can write just while a file is read: this stands for the moment.
    monkeypatch.setattr(source, "require_record", slowly)
    with pytest.raises(LabelFileError, match="has changed since it was scanned; import it again"):
        labels.read(part)

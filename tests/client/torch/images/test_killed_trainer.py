"""A trainer that is killed leaves no image workers: they would hold memory and the job's output."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.anywhere import ROOT
from tests.e2e.running_service import eventually, is_alive

_TRAINS = """
import psutil
from labelcast.torch import SoftLabelLoader
from tests.client.torch.images.test_soft_label_loader import DATA, POLICY

if __name__ == "__main__":
    batches = SoftLabelLoader(
        DATA, None, policy=POLICY, seeds=range(9), batch_size=5, image_workers=1
    )
    for batch in batches:
        started = psutil.Process().children(recursive=True)
        print(*(process.pid for process in started), flush=True)
        input()
"""


def test_image_workers_end_with_a_trainer_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(_TRAINS)
    found = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, program],
        env=os.environ | {"PYTHONPATH": found},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as trainer:
        assert trainer.stdout is not None
        started = [psutil.Process(int(pid)) for pid in trainer.stdout.readline().split()]
        trainer.kill()
    assert started
    eventually(lambda: not any(map(is_alive, started)), "the workers end")

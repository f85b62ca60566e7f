"""Train on two processes with DistributedDataParallel; one is killed, the next start goes on.

torchrun --standalone --nproc-per-node 2 examples/ddp.py 127.0.0.1:7070 mine:v1 images/ run/ 17
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import labelcast
from labelcast import Expectation, Representation
from labelcast.torch import ImageFolder, LabelSetSource, SoftLabelLoader, soft_label_loss
from labelcast_glyphs.networks import student_network

EPOCHS = 8


def main(address: str, tag: str, image_directory: str, out: str, die_at: str = "") -> None:
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    images, expected = ImageFolder(image_directory, channels=1), Expectation(temperature=1.0)
    label_set = labelcast.open(tag, address=address, expect=expected)
    labels = LabelSetSource(label_set, Representation.codes())
    ranks: Any = {"rank": rank, "num_ranks": world, "batch_size": 64 // world}  # of this one
    loader = SoftLabelLoader(images, labels, seeds=range(EPOCHS), **ranks)
    student = DistributedDataParallel(student_network(len(images.class_names)))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    parts: Any = {"student": student, "optimizer": optimizer, "loader": loader}
    checkpoint, trained = Path(out, "checkpoint.pt"), 0
    if checkpoint.exists():
        kept = torch.load(checkpoint, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(kept[name])  # the loader's: of another number of ranks, too
        trained = kept["trained"]
        print(f"rank {rank} goes on after step {trained}, in epoch {loader.position.epoch}")
    for batch in loader:
        if (str(trained), rank) == (die_at, 1):
            os.kill(os.getpid(), signal.SIGKILL)
        loss = soft_label_loss(student(batch.images), batch.labels, labels.label_kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        trained += 1
        if rank == 0 and trained % 5 == 0:
            state = {name: part.state_dict() for name, part in parts.items()} | {"trained": trained}
            torch.save(state, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    print(f"rank {rank} ends after step {trained}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

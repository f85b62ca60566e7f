"""One site: its own images, labels of its own samples, fingerprints of nobody else's."""

from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from labelcast import Expectation, LabelClient, Representation
from labelcast.torch import ImageFolder, LabelSetSource, SoftLabelLoader, soft_label_loss
from labelcast.torch.data.position import Position
from labelcast_glyphs.networks import student_network

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train the student that came, for the epochs of this round."""
    site, run = context.node_config, context.run_config
    number, epochs = int(message.content["config"]["server-round"]) - 1, int(run["epochs"])
    student = student_network(int(run["classes"]))
    student.load_state_dict(message.content["arrays"].to_torch_state_dict())
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)

    images = ImageFolder(site["images"], channels=1, ids="name")
    # The codec is kept from round to round; whole shards would bring labels of other sites.
    kept = Path(site["cache"])
    with LabelClient(str(run["address"]), cache_directory=kept, fetch_shards="never") as client:
        label_set = client.open(str(run["label-set"]), expect=Expectation(temperature=1.0))
        own = label_set.fingerprints_from(site["fingerprints"])
        label_set.decoder()
        source = LabelSetSource(label_set, Representation.codes())
        loader = SoftLabelLoader(
            images,
            source,
            seeds=range(epochs * (number + 1)),
            start=Position(epochs * number),
            batch_size=16,
            sample_ids=own.sample_ids,
            fingerprints=own,
        )
        opened, labels = client.wire_bytes.total, 0
        for batch in loader:
            logits = student(batch.images)
            loss = soft_label_loss(logits, batch.labels, source.label_kind, temperature=1.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            labels += len(batch.views)
        moved = client.wire_bytes.total - opened
    # As fp16, which is what a service sends that decodes.
    dense = labels * label_set.contract.num_classes * 2
    counted = {"labels": labels, "label-bytes": moved, "dense-bytes": dense}
    metrics = MetricRecord({"num-examples": len(images), "opening-bytes": opened, **counted})
    reply = RecordDict({"arrays": ArrayRecord(student.state_dict()), "metrics": metrics})
    return Message(content=reply, reply_to=message)

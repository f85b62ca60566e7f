"""The server: averages the sites' students, and adds up what labels cost them."""

import json
from collections import Counter
from pathlib import Path

import torch
from flwr.app import ArrayRecord, Context, MetricRecord, RecordDict
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from labelcast_glyphs.networks import student_network

COUNTED = ("labels", "label-bytes", "dense-bytes", "opening-bytes")
app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train one student at all sites; none of them sends images, and none is sent labels here."""
    run, out = context.run_config, Path(str(context.run_config["out"]))
    sites = int(run["sites"])
    strategy = FedAvg(
        fraction_evaluate=0.0,
        min_train_nodes=sites,
        min_available_nodes=sites,
        train_metrics_aggr_fn=summed,
    )
    torch.manual_seed(0)
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(student_network(int(run["classes"])).state_dict()),
        num_rounds=int(run["rounds"]),
    )
    total = Counter[str]()
    for metrics in result.train_metrics_clientapp.values():
        total.update({name: int(metrics[name]) for name in COUNTED})
    torch.save(result.arrays.to_torch_state_dict(), out / "student.pt")
    (out / "moved.json").write_text(json.dumps({"sites": sites, **total}))


def summed(replies: list[RecordDict], _weighted_by: str) -> MetricRecord:
    """What all sites report of a round, each shown and all added up."""
    total = Counter[str]()
    for site in replies:
        told = {name: int(site["metrics"][name]) for name in COUNTED}
        print(f"a site moved {told}")
        total.update(told)
    return MetricRecord(dict(total))

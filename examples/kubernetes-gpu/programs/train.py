"""Fits a line, every process on its own part of the data. With PyTorch they learn together."""

import importlib.util
import json
import os
from pathlib import Path

world = int(os.environ["WORLD_SIZE"])
rank = int(os.environ.get("RANK", os.environ["NODE_RANK"]))
print(f"process {rank} of {world} meets the others at port {os.environ['MASTER_PORT']} of node 0", flush=True)


def alone(gradient: float) -> float:
    return gradient


def connect():
    import torch
    from torch import distributed

    on_gpu = torch.cuda.is_available()
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if on_gpu else torch.device("cpu")

    def averaged(gradient: float) -> float:
        value = torch.tensor(gradient, device=device)
        distributed.all_reduce(value)
        return value.item() / world

    return averaged


average = connect() if importlib.util.find_spec("torch") else alone
data = [(x / 100, 3 * x / 100) for x in range(rank, 100, world)]
weight = 0.0
for _ in range(int(os.environ["STEPS"])):
    weight -= average(sum(2 * x * (weight * x - y) for x, y in data) / len(data))
if rank == 0:
    Path(os.environ["JOBFORM_OUTPUT"]).write_text(json.dumps({"weight": round(weight, 4)}))
    print(f"weight {weight:.4f} after {os.environ['STEPS']} steps")

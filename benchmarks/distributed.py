"""What two processes send each other in a training step, by strategy, beside what the planner says: gloo on loopback.

    make bench-distributed

Bytes are those of the machine's network counters, loopback included, over the steps of a run, so the machine should be
quiet; times are ratios to one process, run in turn. On a machine with cards the processes use NCCL, whose traffic over
PCI Express these counters do not see: there the times count.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from eightgig.core.device import describe_device

STRATEGIES = ("one process", "ddp", "fsdp", "pipeline", "model")
NETWORKS = ("gpt2", "resnet18")
STEPS, WARM_UP, MICRO_BATCH, ACCUMULATION = 6, 1, 4, 8


def main() -> None:
    """Run all rows, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--row", nargs=2, metavar=("NETWORK", "STRATEGY"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/distributed-loopback.json"))
    options = parser.parse_args()
    if options.row:
        network, strategy = options.row
        run_row(network, strategy, options.out)
        return
    found: dict[str, Any] = {"device": describe_device("cpu"), "load_before": os.getloadavg()[0], "rows": []}
    for network in NETWORKS:
        for strategy in STRATEGIES:
            found["rows"].append(measured(network, strategy, options.out.with_suffix(".row.json")))
            print(json.dumps(found["rows"][-1]))
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measured(network: str, strategy: str, out: Path) -> dict[str, Any]:
    """Run a row in as many processes as it takes."""
    command = [sys.executable, "-W", "ignore"]
    if strategy != "one process":
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(  # noqa: S603 - our own interpreter and script
        [*command, __file__, "--row", network, strategy, "--out", str(out)], check=True, env=environment
    )
    row: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    out.unlink()
    return row


def run_row(network: str, strategy: str, out: Path) -> None:
    """Train some steps; the first process writes what was sent and how long a step took."""
    import torch

    from eightgig.core.tracker import NoTracker
    from eightgig.training.parameters import TrainParameters
    from eightgig.training.train_step import TrainStep

    torch.set_num_threads(1)
    rank, count = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    module, objective, batch = made(network)
    shares = count if strategy in ("ddp", "fsdp") else 1
    distributed = {} if count == 1 else {"nproc_per_node": count, "strategy": strategy}
    train = TrainParameters(batch_size=MICRO_BATCH, gradient_accumulation_steps=ACCUMULATION, distributed=distributed)
    plan = planned(network, count // shares, shares)
    weights = sum(weight.nbytes for weight in module.parameters())
    step = TrainStep(module, objective, plan=plan, parameters=train, steps=STEPS, tracker=NoTracker())
    window = [batch(MICRO_BATCH) for _ in range(ACCUMULATION // shares)]
    begun, sent = 0.0, 0
    for number in range(STEPS):
        if number == WARM_UP:
            begun, sent = time.perf_counter(), _sent()
        step.run(window, count=MICRO_BATCH * ACCUMULATION)
    seconds, sent = (time.perf_counter() - begun) / (STEPS - WARM_UP), (_sent() - sent) // (STEPS - WARM_UP)
    pipelined = step.state.parallel.pipelined
    shared = pipelined.whole.exchanged_bytes(pipelined.stage.network) if pipelined else 0
    if rank == 0:
        row = {
            "network": network,
            "strategy": strategy,
            "processes": count,
            "milliseconds_per_step": round(1000 * seconds, 1),
            "megabytes_per_step": round(sent / 1e6, 2),
            "planned_megabytes_per_step": round(expected_bytes(strategy, plan, weights, shares, shared) / 1e6, 2),
        }
        out.write_text(json.dumps(row), encoding="utf-8")
    if count > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def expected_bytes(strategy: str, plan: Any, weights: int, shares: int, shared: int) -> float:
    """Return what all processes send in a step: whole gradients twice (ring), or what stages hand over and back.

    Args:
        strategy: of the row.
        plan: with its stages.
        weights: bytes of all weights.
        shares: processes that share the batches out.
        shared: bytes that gradients of weights in several stages take on the way.
    """
    if strategy == "one process":
        return 0.0
    if strategy == "ddp":
        return 2.0 * (shares - 1) * weights
    if strategy == "fsdp":  # weights for each forward and backward pass, and gradients once a step
        return (shares - 1) * weights * (2 * ACCUMULATION // shares + 1)
    return 2.0 * ACCUMULATION * sum(stage.handed_bytes for stage in plan.stages) + shared


def made(network: str) -> tuple[Any, Any, Any]:
    """Return a small network, its objective, and a maker of batches."""
    import torch
    import torchvision
    import transformers

    from eightgig.data.images.transforms import DeviceColour
    from eightgig.tasks.text.generation.objective import CausalObjective
    from eightgig.training.objective import ClassificationObjective

    torch.manual_seed(0)
    if network == "resnet18":

        def images(count: int) -> dict[str, Any]:
            labels = torch.randint(0, 10, (count,))
            return {"images": torch.randint(0, 255, (count, 3, 64, 64), dtype=torch.uint8), "labels": labels}

        return torchvision.models.resnet18(num_classes=10), ClassificationObjective(DeviceColour()), images
    sizes: dict[str, Any] = {"n_layer": 6, "n_embd": 192, "n_head": 4, "vocab_size": 5000, "n_positions": 128}
    config = transformers.GPT2Config(**sizes, use_cache=False, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config)
    return model, CausalObjective(), lambda count: {"input_ids": torch.randint(0, 5000, (count, 129))}


def make_workload(network: str) -> tuple[Any, Any, Any]:
    """Return the same as the planner traces it."""
    module, objective, batch = made(network)

    def loss(module: Any, batch: dict[str, Any]) -> Any:
        return objective.loss_sum(module, batch, next(iter(batch.values())).device) / objective.count(batch)

    return module, loss, batch


def planned(network: str, stages: int, shares: int) -> Any:
    """Return the plan: of stages as the planner cuts them, else a plain one."""
    from eightgig.vram.parameters import PlanParameters
    from eightgig.vram.planning.planner import make_plan
    from eightgig.vram.planning.request import PlanRequest
    from eightgig.vram.planning.stages import StagesRequest
    from eightgig.vram.tracing.spec import WorkloadSpec

    workload = WorkloadSpec(factory="distributed:make_workload", options={"network": network})
    request = PlanRequest.for_card(
        "RTX 3070", workload, batch_size=MICRO_BATCH * ACCUMULATION // shares, precisions=("fp32",)
    )
    changes: dict[str, Any] = {"micro_batch": MICRO_BATCH, "processes": shares}
    if stages > 1:
        changes["stages"] = StagesRequest(count=stages)
    plan = make_plan(request.model_copy(update=changes), PlanParameters(budget_gib=8))
    return plan.model_copy(update={"device": "cpu", "optimizer_kernel": "foreach"})


def _sent() -> int:
    return sum(counters.bytes_sent for counters in psutil.net_io_counters(pernic=True).values())


if __name__ == "__main__":
    main()

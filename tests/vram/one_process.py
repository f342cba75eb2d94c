"""Traces steps here and in the child, and tells which differ: in a process of its own, as torch keeps a device."""

import json
import sys
from unittest import mock

import torch
from torch.optim import adam

from eightgig.vram.tracing.fake_device import fake_device
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.repetition import Unchanged
from eightgig.vram.tracing.spec import WorkloadSpec
from eightgig.vram.tracing.steps import trace_spec
from eightgig.vram.tracing.tracer import Tracer

STEPS = (
    ("residual", {}),
    ("perceptron", {"precision": "bf16", "optimizer_in_backward": True, "clips_gradients": False}),
    ("convolutional", {"precision": "fp16", "accumulates": True, "copies_buffers": True, "channels_last": True}),
    ("convolutional", {"activation_checkpointing": "full"}),
    ("convolutional", {"offload": True}),
    ("attention", {"precision": "fp16"}),
    ("swish", {"phase": "validate"}),
    ("perceptron", {"optimizer": "RMSprop", "optimizer_kernel": "plain", "accumulates": True}),
    ("half_unused", {"precision": "fp16"}),
    ("keeps_its_output", {}),
    ("keeps_its_output", {"phase": "validate"}),
    ("perceptron", {"zero_grad": "before_backward"}),
    ("counts_its_passes", {}),
)


def differing_traces():
    """Return the steps whose trace in this process is another than that of the child."""
    found = []
    with Predictor() as child, Predictor(in_process=True) as here:
        for name, options in STEPS:
            step = WorkloadSpec(factory=f"tiny_workloads:{name}"), StepOptions(micro_batch=4, **options)
            if child.trace(*step) != here.trace(*step):
                found.append(f"{name}, {options}")
    return found


def repeated_steps():
    """Return the steps whose repetition was not traced, and those of them whose trace is not that of two steps."""
    repeated, differing = [], []
    for name, options in STEPS:
        step = WorkloadSpec(factory=f"tiny_workloads:{name}"), StepOptions(micro_batch=4, **options)
        with mock.patch.object(Tracer, "repeat", autospec=True, side_effect=Tracer.repeat) as repeat:
            once = trace_spec(*step)
        with mock.patch.object(Unchanged, "__bool__", return_value=False):
            twice = trace_spec(*step)
        if repeat.called:
            repeated.append(f"{name}, {options}")
        if once != twice:
            differing.append(f"{name}, {options}")
    return repeated, differing


def trained_weights():
    """Return what three steps of Adam, whose counters the fake device answers for, make of a weight."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, foreach=False)
    for _ in range(3):
        (weight**2).sum().backward()
        optimizer.step()
    return weight.tolist()


def main():
    """Write what was found as JSON."""
    replaced = vars(adam)["_get_value"], torch.clear_autocast_cache
    with fake_device():  # before the first backward pass, after which there is no way in
        pass
    before = trained_weights()
    differing = differing_traces()
    with fake_device():
        inside = trained_weights()
    repeated, repeated_otherwise = repeated_steps()
    found = {
        "differing": differing,
        "repeated": repeated,
        "repeated_otherwise": repeated_otherwise,
        "trains_as_before": trained_weights() == before,
        "trains_inside_as_before": inside == before,
        "is_put_back": replaced == (vars(adam)["_get_value"], torch.clear_autocast_cache),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()

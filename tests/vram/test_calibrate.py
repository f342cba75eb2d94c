"""Calibration by hand arithmetic on made-up measurements; the measuring itself where there is a GPU."""

import json
from typing import Any

import pytest
import torch

from eightgig.cli import main
from eightgig.core.errors import ConfigurationError
from eightgig.core.units import MIB, format_bytes
from eightgig.vram.allocator.kernels import AttentionKernel, ConvolutionKernel
from eightgig.vram.tracing import calibrate
from eightgig.vram.tracing.calibrate import (
    calibrated,
    check,
    generation_of,
    staging_of,
    write_calibration,
)
from eightgig.vram.tracing.card_probe import (
    Attention,
    CardMeasurements,
    Convolution,
    KernelWorkspace,
    measure_operations,
    operations,
)
from eightgig.vram.tracing.workspace import WorkspaceMemory, load_calibration

SMALL = Convolution(2, 4, 8, 6, 3, stride=2, groups=2)
PREFIX = "measured on NVIDIA H200, driver 580.1, torch 2.11.0, 2026-12-01: "


def convolution(
    kind, inputs, outputs, taken, *, precision="fp16", layout="contiguous", groups=1, kernel=3, channels_a_group=16
):
    made = ConvolutionKernel(
        kind=kind,
        input_bytes=inputs,
        output_bytes=outputs,
        weight_bytes=9,
        element_bytes=4,
        groups=groups,
        kernel_size=kernel,
        channels_per_group=channels_a_group,
        channels_last=layout == "channels_last",
        transposed=False,
    )
    return KernelWorkspace(kernel=made, case="", precision=precision, layout=layout, num_bytes=taken)


def attention(taken, *, kind="flash_attention_backward", precision="fp16", item=2):
    made = AttentionKernel(kind=kind, batch=1, heads=2, tokens=128, head_dim=64, element_bytes=item)
    return KernelWorkspace(kernel=made, case="", precision=precision, num_bytes=taken)


WORKSPACES = (
    convolution("convolution", 100, 100, 200),
    convolution("convolution", 300, 100, 440),
    convolution("convolution", 50, 50, 0),  # one that needs none does not decide for the others
    convolution("convolution", 100, 100, 777, precision="fp32"),
    convolution("convolution", 100, 100, 60, layout="channels_last"),
    convolution("convolution_backward", 100, 300, 600),
    convolution("convolution_backward", 100, 100, 40, kernel=1),
    convolution("convolution", 100, 100, 100, groups=32),
    convolution("convolution_backward", 100, 100, 300, groups=32),
    convolution("convolution_backward", 100, 100, 999, groups=32, channels_a_group=4),  # has kernels of its own
    attention(4 * 2 * 128 * 64 + 4 * 2 * 128),
    attention(0, kind="efficient_attention_backward", precision="fp32", item=4),
)


def measurements(**changes):
    plain = {
        "card": "NVIDIA H200",
        "compute_capability": (9, 0),
        "driver": "580.1",
        "torch": "2.11.0",
        "date": "2026-12-01",
        "context_bytes": 600 * MIB,
        "cublas_workspace_bytes": 32 * MIB,
        "workspaces": WORKSPACES,
    }
    return CardMeasurements(**{**plain, **changes})


def test_each_constant_of_the_cards_generation_is_measured_and_says_how():
    base = load_calibration()
    hopper = calibrated(base, measurements()).of("hopper")
    figures = {name: constant.value for name, constant in hopper}
    assert figures == {
        "context_bytes": 600 * MIB,
        "cublas_workspace_bytes": 32 * MIB,
        "conv_forward_staging": 1.0,  # the median of 0, 1 and 1.1
        "conv_backward_staging": 1.5,
        "conv_pointwise_staging": 0.2,
        "conv_grouped_staging": 1.5,
        "attention_backward_accumulator": 1,
    }
    assert all(constant.source.startswith(PREFIX) for _, constant in hopper)
    assert hopper.conv_forward_staging.source == PREFIX + "median of 3 fp16 convolutions, 0.00 to 1.10"
    assert hopper.conv_forward_staging.unit == base.of("hopper").conv_forward_staging.unit


def test_where_half_precision_was_not_measured_single_precision_counts():
    ops = (convolution("convolution", 100, 100, 100, precision="fp32"),)
    hopper = calibrated(load_calibration(), measurements(workspaces=ops)).of("hopper")
    assert hopper.conv_forward_staging.value == 0.5
    assert hopper.conv_forward_staging.source.endswith("median of 1 fp32 convolutions, 0.50 to 0.50")


def test_what_recipes_run_is_kept_by_constant_precision_and_layout_also_where_no_constant_takes_it_up():
    rows = {(row.kind, row.constant, row.precision, row.layout): row for row in staging_of(measurements())}
    last = rows["convolution", None, "fp16", "channels_last"]
    assert (last.count, last.least, last.median, last.most) == (1, 0.3, 0.3, 0.3)
    single = rows["convolution", "conv_forward_staging", "fp32", "contiguous"]
    assert (single.count, single.median) == (1, 3.885)
    half = rows["convolution", "conv_forward_staging", "fp16", "contiguous"]
    assert (half.count, half.least, half.median, half.most) == (3, 0, 1, 1.1)
    narrow = rows["convolution_backward", None, "fp16", "contiguous"]
    assert (narrow.count, narrow.median) == (1, 4.995)
    assert sum(row.count for row in rows.values()) == sum("convolution" in one.kernel.kind for one in WORKSPACES)


def test_what_is_measured_are_the_kernels_of_the_recipes_and_those_that_constants_are_for():
    made = [one for one in operations("meta", attentions=[]) if one.kernel.kind.startswith("convolution")]
    layouts = {(one.precision, one.layout) for one in made}
    assert ("fp16", "channels_last") in layouts
    assert ("bf16", "channels_last") in layouts
    probes = [KernelWorkspace(kernel=one.kernel, case="", precision="fp16", num_bytes=1) for one in made]
    constants = {row.constant for row in staging_of(measurements(workspaces=tuple(probes)))}
    assert {name for name in WorkspaceMemory.model_fields if name.startswith("conv_")} <= constants


def test_other_generations_stay_as_they_were():
    base = load_calibration()
    made = calibrated(base, measurements())
    assert {name for name in base.generations if made.of(name) != base.of(name)} == {"hopper"}


def test_what_was_not_measured_stays_as_it_was():
    base = load_calibration()
    made = calibrated(base, measurements(context_bytes=None, cublas_workspace_bytes=0, workspaces=()))
    assert made == base


def test_a_kernel_without_an_accumulator_is_told_from_one_with():
    hopper = calibrated(load_calibration(), measurements(workspaces=(attention(4 * 2 * 128),))).of("hopper")
    assert hopper.attention_backward_accumulator.value == 0


@pytest.mark.parametrize(
    ("capability", "generation"),
    [
        ((7, 5), "turing"),
        ((8, 0), "ampere"),
        ((8, 6), "ampere"),
        ((8, 9), "ada"),
        ((9, 0), "hopper"),
        ((10, 0), "blackwell"),
    ],
)
def test_generations(capability, generation):
    assert generation_of(capability, "card") == generation


def test_a_card_of_an_older_generation_is_refused():
    with pytest.raises(ConfigurationError, match=r"the Tesla V100 has compute capability 7\.0; constants are kept for"):
        generation_of((7, 0), "Tesla V100")


def test_each_op_is_shown_beside_what_the_constants_say_of_it():
    workspace = calibrated(load_calibration(), measurements()).of("hopper")
    said = [one.predicted_bytes for one in check(measurements(), workspace)]
    assert said[:2] == [200, 400]  # input and output together, once
    assert said[4] == 0  # channels last
    assert said[5] == 600
    assert said[10] == 4 * 2 * 128 * 64


def test_the_file_that_is_written_can_be_used(tmp_path):
    out = tmp_path / "calibration.json"
    made = write_calibration(out, load_calibration(), measurements())
    assert load_calibration(out) == made
    details = json.loads((tmp_path / "calibration.measured.json").read_text())
    assert details["measurements"]["card"] == "NVIDIA H200"
    assert len(details["checked"]) == len(WORKSPACES)
    assert {"precision", "layout", "median", "constant"} <= details["staging"][0].keys()


def test_the_command_says_what_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(calibrate, "measure", lambda: measurements(notes=("flash (fp16): no kernel",)))
    assert main(["calibrate", "--out", str(tmp_path / "c.json")]) == 0
    said = capsys.readouterr().out
    assert "NVIDIA H200, generation hopper:" in said
    was = format_bytes(load_calibration().of("hopper").context_bytes.value)
    assert f"context_bytes 600.0 MiB (was {was})" in said
    assert "not measured: flash (fp16): no kernel" in said
    assert f"written to {tmp_path / 'c.json'}: point plan.calibration at it" in said


def test_without_a_gpu_it_says_what_is_used_instead(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["calibrate", "--out", str(tmp_path / "c.json")]) == 2
    said = capsys.readouterr().err
    assert "only be measured on an NVIDIA GPU, and torch finds none" in said
    assert "predictions use the packaged constants (calibration.json)" in said
    assert not list(tmp_path.iterdir())


def test_a_measuring_process_that_fails_leaves_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # here; not in the child
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert main(["calibrate", "--out", str(tmp_path / "c.json")]) == 2
    assert "could not be measured, nothing was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_ops_run_and_one_that_cannot_is_noted():
    taken = []

    def beside(operation):
        operation()
        taken.append(len(taken))
        return taken[-1]

    measured, notes = measure_operations(operations("cpu", [SMALL], [Attention(1, 2, 16, 8)]), beside)
    kinds = {one.kernel.kind for one in measured}
    assert {"convolution", "convolution_backward", "embedding_backward", "layer_norm_backward"} <= kinds
    assert [one.num_bytes for one in measured] == taken
    assert any(note.startswith("attention, 1 x 2 heads of 8, 16 tokens (fp") for note in notes)  # no such kernel


def test_the_sizes_of_an_op_are_those_of_its_tensors():
    made = next(one for one in operations("cpu", [SMALL], []) if one.precision == "fp32")
    x, w, y = 2 * 4 * 6 * 6, 8 * 2 * 3 * 3, 2 * 8 * 3 * 3
    assert made.kernel == ConvolutionKernel(
        kind="convolution",
        input_bytes=4 * x,
        output_bytes=4 * y,
        weight_bytes=4 * w,
        element_bytes=4,
        groups=2,
        kernel_size=3,
        channels_per_group=2,
        channels_last=False,
        transposed=False,
    )
    output: Any = made.prepare()()
    assert output.numel() == y


@pytest.mark.gpu
def test_the_card_at_hand(tmp_path):
    assert main(["calibrate", "--out", str(tmp_path / "c.json")]) == 0
    details = json.loads((tmp_path / "c.measured.json").read_text())
    measured = CardMeasurements.model_validate(details["measurements"])
    assert measured.cublas_workspace_bytes >= MIB
    assert {"convolution", "flash_attention_backward", "layer_norm_backward"} <= {
        one.kernel.kind for one in measured.workspaces
    }
    workspace = load_calibration(tmp_path / "c.json").of(generation_of(measured.compute_capability, measured.card))
    assert 0 <= workspace.conv_forward_staging.value < 8

"""The table of fine-tuning runs: which rows are predicted and as what, and why the others are not."""

import csv

import pytest

COLUMNS = (
    *("source", "gpu", "gpu_memory_gib", "model", "setting", "batch_size", "optimizer", "precision"),
    *("measured", "unit", "oom", "baseline"),
)
ADAPTER = '{"peft_type": "LORA", "r": 4, "target_modules": ["to_q"]}'
TUNE, AO = ("pytorch/torchtune README.md", "A100", "", "Llama"), ("pytorch/ao README.md", "RTX 4070 Ti SUPER", "16")
PEFT = ("huggingface/peft method_comparison/{}/a.json", "NVIDIA L40S", "")
LAMBDAL = ("lambdal/deeplearning-benchmark a.csv", "GeForce", "1000_MiB", "resnet50", "script", 64, "", "FP32")
DECIMAL, NVML = "GB (as written)", "MB (NVML used // 1024**2 = MiB)"


def step(name):
    return f"cumulative step: {name} (full_finetune chain)"


ROWS = [
    (*TUNE, step("Baseline"), 2, "AdamW", "bf16", 20.5, "GiB", False),
    (*TUNE, step("+ Packed Dataset"), 2, "AdamW", "bf16", 2.5, "GiB", False),
    (*TUNE, step("+ Fuse optimizer step into backward"), 2, "AdamW", "bf16", 2, "GiB", False),
    (*TUNE, step("LoRA"), 2, "AdamW", "bf16", 1, "GiB", False),
    (TUNE[0], "8x A100", "", "Llama", "LoRA; torch.compile", 2, "AdamW", "bf16", 30, "GiB", False),
    (*AO, "timm ViT-H/14", "compiled", 8, "AdamW bnb 8-bit", "bf16 AMP", 8.5, DECIMAL, False),
    (*AO, "timm vit_giant", "eager", 32, "Adam", "bf16", 9.5, DECIMAL, False),
    (*AO, "timm vit_giant", "eager", 32, "Adam", "bf16", "OOM", DECIMAL, True),
    (PEFT[0].format("MetaMathQA"), *PEFT[1:], "Llama", "lora", 4, "AdamW", "bfloat16", 9000, "bytes", False),
    (
        *(PEFT[0].format("image-gen"), *PEFT[1:], "FLUX", f"lora/made-up; {ADAPTER}; grad_ckpt=True; trainable=77"),
        *(2, "AdamW", "bfloat16", 9000, "bytes", False),
    ),
    (
        *(
            PEFT[0].format("image-gen"),
            *PEFT[1:],
            "FLUX",
            f"c3a/made-up; {ADAPTER.replace('LORA', 'C3A')}; trainable=7",
        ),
        *(2, "AdamW", "bfloat16", 9000, "bytes", False),
    ),
    (
        *(
            "huggingface/transformers a.mdx",
            "Tesla V100-SXM2-16GB",
            "15.78",
            "bert",
            "HF Trainer, fp16 + checkpointing",
        ),
        *(1, "Adafactor", "fp16 mixed", 100, NVML, False, "0 MiB before; context alone 42 MiB"),
    ),
    (*LAMBDAL, 990, "MiB", False),
    (*LAMBDAL, 500, "MiB", False),
    ("open-mmlab/mmsegmentation a", "V100", "", "FCN", "Cityscapes", "per config", "SGD", "fp32", 7.5, DECIMAL, False),
]


@pytest.fixture
def other_runs(benchmark):
    return benchmark("other_runs")


@pytest.fixture
def folder(tmp_path):
    with (tmp_path / "other_runs.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows((f"github:{source}", *row, *[""] * (len(COLUMNS) - 1 - len(row))) for source, *row in ROWS)
    return tmp_path


def test_every_row_is_predicted_or_left_out_for_a_reason(other_runs, folder):
    left_out = {}
    for library in other_runs.LIBRARIES:
        left_out |= other_runs.left_out(folder, library)
    assert left_out == {
        "torchtune: sequence lengths vary: the longest batch is not stated": 1,
        "torchtune: sharded over eight cards": 1,
        "torchao: it ran out of memory": 1,
        "peft: sequence lengths vary: the longest batch is not stated": 1,
        "peft: an adapter with settings beside rank and targets, which are not stated": 1,
        "mmsegmentation: the batch size is not stated": 1,
        "deeplearning-benchmark: at the card's limit": 1,
        "deeplearning-benchmark: network, data and cuDNN's search are a script's, which is not stated": 1,
    }
    predicted = [run for library in other_runs.LIBRARIES for run in other_runs.other_runs(folder, library)]
    assert len(predicted) + sum(left_out.values()) == len(ROWS)


def test_a_step_of_torchtunes_table_has_those_before_it(other_runs, folder):
    packed, fused, lora = other_runs.other_runs(folder, "torchtune")
    assert (packed.asked.source, packed.measured_bytes, packed.measure) == ("torchtune", 5 * 2**29, "allocated")
    assert packed.asked.options.activation_checkpointing == "none"
    assert not packed.asked.workload.options["chunked_loss"]
    assert fused.asked.source == "torchtune, compiled"
    assert fused.asked.options.activation_checkpointing == "full"
    assert fused.asked.options.optimizer_in_backward
    assert not fused.asked.options.offload
    assert lora.asked.options.offload
    assert not lora.asked.options.optimizer_in_backward
    assert lora.asked.workload.options["adapters"]["lora_rank"] == 64


def test_torchaos_gigabytes_are_decimal(other_runs, folder):
    compiled, eager = other_runs.other_runs(folder, "torchao")
    assert (compiled.measured_bytes, compiled.measure) == (8_500_000_000, "allocated")
    assert (compiled.asked.source, compiled.asked.options.optimizer) == ("torchao, compiled", "adamw8bit")
    assert (compiled.asked.options.precision, compiled.asked.options.weights) == ("bf16", "fp32")
    assert (eager.asked.source, eager.asked.options.weights) == ("torchao", "bf16")
    assert eager.asked.options.activation_checkpointing == "full"


def test_the_adapter_is_the_rows_own(other_runs, folder):
    (run,) = other_runs.other_runs(folder, "peft")
    assert run.asked.name == "FLUX, lora, AdamW, 2, L40S"
    assert run.asked.workload.options["adapter"] == {"peft_type": "LORA", "r": 4, "target_modules": ["to_q"]}
    assert run.asked.workload.options["trainable"] == 77
    assert run.measure == "reserved"


def test_a_whole_cards_figure_is_compared_beside_the_stated_context(other_runs, folder):
    (run,) = other_runs.other_runs(folder, "transformers")
    assert run.measured_bytes == 100 * 2**20
    assert run.beside_bytes == 40 * 2**20  # less the segment of the tensor that it was measured with
    assert run.asked.options.optimizer == "transformers.optimization:Adafactor"
    assert run.asked.options.optimizer_arguments == {"scale_parameter": False, "relative_step": False}
    assert (run.asked.options.precision, run.asked.options.activation_checkpointing) == ("fp16", "full")


def test_a_folder_without_the_table_has_no_runs(other_runs, tmp_path):
    assert list(other_runs.other_runs(tmp_path, "peft")) == []
    assert other_runs.left_out(tmp_path, "peft") == {}

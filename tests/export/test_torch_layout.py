"""The layout in which torch's rows run: as networks of images train on a GPU."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from eightgig.export import torch_runner
from eightgig.export.torch_compile_runner import TorchCompileRunner
from eightgig.export.torch_runner import TorchRunner


def images(dtype=torch.float32):
    convolution, head = nn.Conv2d(3, 8, 3, dtype=dtype), nn.Linear(8, 2, dtype=dtype)
    return nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def moved(self, *arguments, memory_format=None):
    """Do as Module.to does, by hand: it cannot exchange fake tensors."""
    for part in self.modules():
        for name, weight in part._parameters.items():
            layout = {"memory_format": memory_format} if memory_format and weight.dim() == 4 else {}
            part._parameters[name] = nn.Parameter(weight.detach().to(*arguments, **layout))
    return self


def on_fake_card(monkeypatch, build, feeds, *, runner: Any = TorchRunner, **options):
    """Run on a card that is none; give what reaches the module, its weights while it is open, and after."""
    seen = {}

    class Watched(runner):
        def _call(self, inputs):
            seen["inputs"] = inputs
            seen["weights"] = [*module.parameters()]
            return module(*inputs)

    # A fake tensor has no values to copy to the host, and there is no card to be named.
    monkeypatch.setattr(torch_runner, "_to_numpy", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "fake")
    monkeypatch.setattr(nn.Module, "to", moved)
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = build()
        with Watched(module, *options.pop("arguments", ()), device="cuda", **options) as opened:
            opened.run(feeds)
            seen["described"] = opened.describe()
        seen["after"] = [*module.parameters()]
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("runner", [TorchRunner, TorchCompileRunner])
def test_images_run_channels_last_on_a_gpu(monkeypatch, runner, dtype):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)
    feeds = {"images": np.zeros((2, 3, 8, 8), np.float32)}
    arguments = (feeds,) if runner is TorchCompileRunner else ()
    seen = on_fake_card(monkeypatch, lambda: images(dtype=dtype), feeds, runner=runner, arguments=arguments)
    assert seen["inputs"][0].is_contiguous(memory_format=torch.channels_last)
    assert not seen["inputs"][0].is_contiguous()
    assert {tensor.device.type for tensor in (*seen["inputs"], *seen["weights"])} == {"cuda"}
    assert seen["weights"][0].is_contiguous(memory_format=torch.channels_last)
    assert seen["described"]["memory_format"] == "channels_last"
    assert all(weight.is_contiguous() and weight.device.type == "cpu" for weight in seen["after"])


def test_a_network_without_convolutions_keeps_its_layout(monkeypatch):
    feeds = {"images": np.zeros((2, 3, 8, 8), np.float32)}
    seen = on_fake_card(monkeypatch, lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), feeds)
    assert seen["inputs"][0].is_contiguous()
    assert seen["described"]["memory_format"] == "contiguous"


def channels_last(images_N3HW):
    return np.ascontiguousarray(images_N3HW.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def test_an_array_that_is_channels_last_already_is_not_copied():
    images_N3HW = channels_last(np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32))
    runner = TorchRunner(images())
    runner.memory_format = "channels_last"  # as on a GPU; the copy to one is left out here
    tensor = runner._to_device(images_N3HW)
    assert tensor.data_ptr() == images_N3HW.ctypes.data
    assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", ["contiguous", "channels last", "read only", "turned around"])
def test_the_cpu_answers_alike_whatever_the_array_looks_like(kind):
    images_N3HW = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    torch.manual_seed(0)
    with TorchRunner(images()) as runner:
        assert runner.describe()["memory_format"] == "contiguous"
        wanted = runner.run({"images": images_N3HW.copy()})["logits"]
        given = {
            "contiguous": images_N3HW,
            "channels last": channels_last(images_N3HW),
            "read only": np.frombuffer(images_N3HW.tobytes(), np.float32).reshape(images_N3HW.shape),
            "turned around": np.ascontiguousarray(images_N3HW[..., ::-1])[..., ::-1],
        }[kind]
        assert np.array_equal(runner.run({"images": given})["logits"], wanted)


def test_a_module_that_does_not_fit_is_left_as_it_was(monkeypatch):
    module, moved = images().train(), []

    def to(self, *arguments, **_):
        moved.append(arguments[0])
        if arguments[0] == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self

    monkeypatch.setattr(nn.Sequential, "to", to)
    runner = TorchRunner(module, "cuda")
    runner.memory_format = "contiguous"
    with pytest.raises(torch.OutOfMemoryError):
        runner.__enter__()
    assert moved == ["cuda", torch.device("cpu")]
    assert module.training


@pytest.mark.gpu
@pytest.mark.parametrize("runner", [TorchRunner, TorchCompileRunner])
def test_channels_last_gives_the_same_and_keeps_the_layout_to_the_end(runner):
    torch.manual_seed(0)
    images_N3HW = np.random.default_rng(0).normal(size=(4, 3, 32, 32)).astype(np.float32)
    module = images()
    with TorchRunner(module) as reference:
        wanted = reference.run({"images": images_N3HW})["logits"]
    arguments = ({"images": images_N3HW},) if runner is TorchCompileRunner else ()
    with runner(images().half(), *arguments, device="cuda") as half:
        assert half.describe()["memory_format"] == "channels_last"
    with runner(module, *arguments, device="cuda") as opened:
        found = opened.run({"images": images_N3HW})["logits"]
    np.testing.assert_allclose(found, wanted, atol=1e-2)  # TF32
    assert module[0].weight.is_contiguous()

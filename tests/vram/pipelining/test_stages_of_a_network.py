"""Where networks may be cut, and that two stages compute what the whole does, wherever the cut is."""

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch
import torchvision
import transformers
from torch import nn

from eightgig.core.errors import TrainingError
from eightgig.vram.pipelining.parts import parts_of
from eightgig.vram.pipelining.stage import HandedOver, StageModule

IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(0, 90, (2, 12), generator=torch.Generator().manual_seed(0))
TINY: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 90,
}


class Skips(nn.Module):
    """A skip over everything, a weight that belongs to no part, and one part that is called twice."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.scale = nn.Parameter(torch.full((8,), 0.5))

    def forward(self, x):
        first = self.first(x)
        second = self.second(first * self.scale).relu_()
        return self.last(self.second(second) + first * self.scale)


def gpt2():
    config = transformers.GPT2Config(
        n_layer=3, n_embd=16, n_head=2, vocab_size=90, n_positions=32, use_cache=False, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


NETWORKS = {
    "resnet18": (torchvision.models.resnet18, lambda m: m(IMAGES)),
    "channels last": (
        lambda: torchvision.models.mobilenet_v3_small().to(memory_format=torch.channels_last),
        lambda m: m(IMAGES.to(memory_format=torch.channels_last)),
    ),
    "densenet": (lambda: torchvision.models.DenseNet(4, (2, 2), 8), lambda m: m(IMAGES)),
    "vit": (
        lambda: torchvision.models.VisionTransformer(64, 32, 3, 2, 16, 32),
        lambda m: m(IMAGES),
    ),
    "swin": (
        lambda: torchvision.models.SwinTransformer([4, 4], 8, [2, 2], [1, 2], [4, 4], stochastic_depth_prob=0.0),
        lambda m: m(IMAGES),
    ),
    "gpt2, tied": (gpt2, lambda m: m(input_ids=IDS).logits),
    "bert": (
        lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**TINY)),
        lambda m: m(input_ids=IDS, attention_mask=(IDS > 9).long()).logits,
    ),
    "llama": (
        lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**TINY, use_cache=False)),
        lambda m: m(input_ids=IDS).logits,
    ),
    "skips": (Skips, lambda m: m(IMAGES[:, 0, 0, :8])),
}


def parts_between(flow, *cuts):
    """Return the names of the parts of each stage."""
    ends = pairwise((0, *cuts, len(flow.calls)))
    return [tuple(dict.fromkeys(call.part for call in flow.calls[begin:end])) for begin, end in ends]


def loss_of(output):
    return output.float().square().mean()


def pass_through(stages, run):
    """Return the loss of a network in stages, each of which goes on from the generator's state of the one before."""
    handed: tuple[Any, ...] = ()
    state = None
    for stage in stages:
        flow = stage.flow(lambda stage=stage: run(stage))
        given = [tensor.detach().requires_grad_() for tensor in handed]
        sent, handed = handed, ()
        torch.manual_seed(5)
        stage.take_over(
            flow,
            lambda given=given: [tensor.view_as(tensor) for tensor in given],
            at_start=lambda state=state: None if state is None else torch.set_rng_state(state),
        )
        try:
            loss = loss_of(run(stage))
        except HandedOver as over:
            handed, state = over.tensors, torch.get_rng_state()
        yield sent, given, (None if handed else loss)


def gradients_in(stages, run):
    """Return the loss, and the gradients by name, added up over the stages."""
    passes = list(pass_through(stages, run))
    passes[-1][2].backward()
    for sent, given, _ in reversed(passes[1:]):
        pairs = [(tensor, received.grad) for tensor, received in zip(sent, given, strict=True) if tensor.requires_grad]
        torch.autograd.backward([tensor for tensor, _ in pairs], [gradient for _, gradient in pairs])
    found = {}
    for stage in stages:
        for name, weight in stage.network.named_parameters():
            if weight.grad is not None:
                found[name] = found.get(name, 0) + weight.grad
    return passes[-1][2], found


@pytest.mark.parametrize("name", NETWORKS)
def test_two_stages_compute_what_the_whole_does_at_every_cut(name):
    make, run = NETWORKS[name]
    torch.manual_seed(1)
    network = make().train()
    whole = copy.deepcopy(network)
    torch.manual_seed(5)
    loss = loss_of(run(whole))
    loss.backward()
    aliases = {}
    for alias, weight in whole.named_parameters(remove_duplicate=False):
        aliases.setdefault(id(weight), []).append(alias)
    probe = StageModule(copy.deepcopy(network), parts_of(network))
    flow = probe.flow(lambda: run(probe))
    cuts = flow.cuts if len(flow.cuts) < 6 else flow.cuts[1 :: len(flow.cuts) // 4]
    assert cuts
    for cut in cuts:
        parts = parts_between(flow, cut)
        everything = [part for own in parts for part in own]
        stages = [StageModule(copy.deepcopy(network), own, everything) for own in parts]
        found_loss, found = gradients_in(stages, run)
        assert torch.equal(found_loss, loss), cut
        for weight in whole.parameters():
            if weight.grad is not None:
                together = sum(found.get(alias, 0) for alias in aliases[id(weight)])
                torch.testing.assert_close(together, weight.grad, rtol=1e-5, atol=1e-7)


def test_a_stage_holds_its_own_weights_alone():
    network = torchvision.models.resnet18()
    probe = StageModule(copy.deepcopy(network), parts_of(network))
    flow = probe.flow(lambda: probe(IMAGES))
    parts = parts_between(flow, 4, 8)
    everything = [part for own in parts for part in own]
    stages = [StageModule(copy.deepcopy(network), own, everything) for own in parts]
    names = [set(stage.network.state_dict()) for stage in stages]
    assert set.union(*names) == set(network.state_dict())
    assert all(not one & other for one, other in pairwise(names))
    assert all(tensor.device.type == "cpu" for stage in stages for tensor in stage.state_dict().values())


def test_what_may_not_be_cut_says_why():
    probe = StageModule(Skips(), parts_of(Skips()))
    flow = probe.flow(lambda: probe(IMAGES[:, 0, 0, :8]))
    assert [call.part for call in flow.calls] == ["first", "second", "second", "last"]
    assert flow.cuts == (1, 3)
    assert flow.objection(2) == "second is called before and after it"
    assert [value.call for value in flow.crossing(3)] == [0, 2]  # the skip is carried
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3))
    probe = StageModule(network, parts_of(network))
    flow = probe.flow(lambda: probe(IMAGES))
    assert flow.objection(2) == "what 1 gives is changed in place after it"
    measured, kept_bytes = probe.measured_flow(lambda: probe(IMAGES))
    assert measured == flow
    assert len(kept_bytes) == len(flow.calls)


def test_a_pass_of_shapes_changes_nothing_and_takes_no_memory():
    network = torchvision.models.resnet18().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stage = StageModule(network, parts_of(network))
    torch.manual_seed(3)
    drawn = torch.get_rng_state()
    stage.flow(lambda: stage(torch.zeros(()).expand(4096, 3, 512, 512)))  # 80 GB of activations
    assert torch.equal(drawn, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


class Wanders(nn.Module):
    """Calls its parts in an order that depends on the batch."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.three(self.two(self.one(x)) if x.sum() > 0 else self.one(self.two(x)))


def test_parts_called_in_another_order_are_refused():
    stage = StageModule(Wanders(), ["one", "two"], ["three"])
    flow = stage.flow(lambda: stage(torch.ones(2, 4)))
    stage.take_over(flow, lambda: ())
    with pytest.raises(
        TrainingError,
        match=r"calls two where it called one before: parts that .* set train.distributed.strategy to ddp",
    ):
        stage(-torch.ones(2, 4))

"""Networks of the kinds that ended badly once, for the child process: `ending_workloads:gru`."""

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence


def _of(module, loss=None, batch=None, width=8):
    return module, loss or _sum, batch or (lambda n: torch.zeros(n, width))


def _sum(net, b):
    return net(b).float().sum()


def gru():
    return _of(nn.GRU(8, 16, batch_first=True), lambda net, b: net(b)[0].sum(), lambda n: torch.zeros(n, 5, 8))


def lstm():
    return _of(nn.LSTM(8, 16, batch_first=True), lambda net, b: net(b)[0].sum(), lambda n: torch.zeros(n, 5, 8))


def rnn():
    return _of(nn.RNN(8, 16, batch_first=True), lambda net, b: net(b)[0].sum(), lambda n: torch.zeros(n, 5, 8))


def sparse_embedding():
    return _of(nn.Embedding(1000, 64, sparse=True), batch=lambda n: torch.zeros(n, 4, dtype=torch.int64))


def grouped_matmul():
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 64, 64, dtype=torch.bfloat16))

        def forward(self, x):
            ends = torch.full((4,), x.shape[0] // 4, dtype=torch.int32, device=x.device).cumsum(0, dtype=torch.int32)
            return torch._grouped_mm(x, self.weight, offs=ends)

    return _of(Experts(), batch=lambda n: torch.zeros(n * 16, 64, dtype=torch.bfloat16))


def mixtral():
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=128,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
    )
    return _of(
        MixtralForCausalLM(config),
        lambda net, b: net(input_ids=b, labels=b, use_cache=False).loss,
        lambda n: torch.zeros(n, 16, dtype=torch.int64),
    )


def loss_in_a_tuple():
    return _of(nn.Linear(8, 8), lambda net, b: (net(b).sum(), 1))


def asks_any():
    def loss(net, b):
        made = net(b)
        if (made > 0).any():
            made = made * 2
        return made.sum()

    return _of(nn.Linear(8, 8), loss)


def masks():
    return _of(nn.Linear(8, 8), lambda net, b: net(b)[b > 0].sum())


def nonzero():
    return _of(nn.Linear(8, 8), lambda net, b: net(b)[b[:, 0].nonzero()].sum())


def nms():
    from torchvision.ops import nms as suppress

    return _of(nn.Linear(4, 4), lambda net, b: net(b)[suppress(b, b[:, 0], 0.5)].sum(), width=4)


def packed_sequence():
    def loss(net, b):
        packed = pack_padded_sequence(b, torch.full((b.shape[0],), 5, device="cpu"), batch_first=True)
        return net(packed)[0].data.sum()

    return _of(nn.GRU(8, 16, batch_first=True), loss, lambda n: torch.zeros(n, 5, 8))


def packed_sequence_of_lengths():
    def loss(net, b):
        values, lengths = b
        return net(pack_padded_sequence(values, lengths.cpu(), batch_first=True))[0].data.sum()

    return _of(nn.GRU(8, 16, batch_first=True), loss, lambda n: (torch.zeros(n, 5, 8), torch.full((n,), 5)))


def batch_norm():
    return _of(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8)))


def compiled():
    return _of(torch.compile(nn.Linear(8, 8)))


def compiled_function():
    scale = torch.compile(lambda x: x * 2)
    return _of(nn.Linear(8, 8), lambda net, b: scale(net(b)).sum())


def compiled_in_place():
    module = nn.Linear(8, 8)
    module.compile()
    return _of(module)


def compiled_part():
    parts: list = [nn.Linear(8, 8), torch.compile(nn.Linear(8, 8))]
    return _of(nn.Sequential(*parts))


def half_log_softmax():
    def loss(net, b):
        return functional.log_softmax(net(b).bfloat16(), dim=-1, dtype=torch.float32).sum()

    return _of(nn.Linear(8, 8), loss)


def half_softmax():
    def loss(net, b):
        return functional.softmax(net(b).bfloat16(), dim=-1, dtype=torch.float32).sum()

    return _of(nn.Linear(8, 8), loss)


def half_weights_log_softmax():
    return _of(
        nn.Linear(8, 8).bfloat16(),
        lambda net, b: functional.log_softmax(net(b), dim=-1, dtype=torch.float32).sum(),
        lambda n: torch.zeros(n, 8, dtype=torch.bfloat16),
    )


@torch.library.custom_op("ending::without_fake", mutates_args=())
def without_fake(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


@torch.library.custom_op("ending::with_fake", mutates_args=())
def with_fake(x: torch.Tensor) -> torch.Tensor:
    return x.clone()


with_fake.register_fake(torch.empty_like)
with_fake.register_autograd(lambda _, gradient: gradient)
without_fake.register_autograd(lambda _, gradient: gradient)


def custom_op_without_fake():
    return _of(nn.Linear(8, 8), lambda net, b: without_fake(net(b)).sum())


def custom_op():
    return _of(nn.Linear(8, 8), lambda net, b: with_fake(net(b)).sum())


def half_scores():
    return _of(nn.Linear(8, 8), lambda net, b: net(b).softmax(-1).sum())

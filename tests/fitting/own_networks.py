"""Networks of one's own, for the process that traces."""

import torch
from torch import nn


def make():
    module = nn.Sequential(*[nn.Linear(2048, 2048) for _ in range(4)])
    return module, lambda network, batch: network(batch).mean(), lambda samples: torch.zeros(samples, 16, 2048)


def wide():
    with torch.device("meta"):
        module = nn.Sequential(*[nn.Linear(16384, 16384) for _ in range(4)])
    return module, lambda network, batch: network(batch).mean(), lambda samples: torch.zeros(samples, 16384)

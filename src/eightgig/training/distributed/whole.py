"""The whole network from processes that hold a stage of it each: weights, optimizer state, norms, shared weights."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed import ReduceOp
from torch.optim import Optimizer

from eightgig.training.distributed.process_group import ProcessGroup
from eightgig.training.optim import decay_groups


class WholeNetwork:
    """What is known of the whole network in each process.

    A weight that stands in several stages (tied ones, and those that belong to no part) is held by each of them, with
    the sum of its gradients, and counts once.

    Args:
        network: whole, before a stage of it is made.
        stages: names of the parts of each stage.
        process_group: whose numbers are those of the stages.

    Attributes:
        shapes: of the weights and buffers.
    """

    def __init__(self, network: nn.Module, stages: Sequence[Sequence[str]], process_group: ProcessGroup) -> None:
        self._group = process_group
        self.shapes = shapes_of(network.state_dict())
        first_names = {id(weight): name for name, weight in network.named_parameters()}
        self._first_name, holders = dict[str, str](), dict[str, set[int]]()
        for name, weight in network.named_parameters(remove_duplicate=False):
            first = self._first_name[name] = first_names[id(weight)]
            holders.setdefault(first, set()).update(_stages_of(name, stages))
        self._holders = {name: tuple(sorted(found)) for name, found in holders.items()}
        self._order = [[first_names[id(weight)] for weight in group] for group in decay_groups(network)]
        # As torch numbers weights in an optimizer's state: one after the other, group by group.
        self._place_of = {name: place for place, name in enumerate(chain.from_iterable(self._order))}
        shared = dict.fromkeys(held for held in self._holders.values() if len(held) > 1)
        self._groups: dict[tuple[int, ...], Any] = {held: torch.distributed.new_group(list(held)) for held in shared}

    def first_names(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Return a stage's weights by the names that they have in the whole network."""
        return {self._first_name[name]: weight for name, weight in module.named_parameters()}

    def add_up_shared(self, module: nn.Module) -> None:
        """Let weights that several stages hold have the sum of their gradients in each."""
        own = self.first_names(module)
        for held, group in self._groups.items():
            if self._group.index not in held:
                continue
            weights = [own[name] for name, holding in self._holders.items() if holding == held]
            reached = torch.tensor([float(w.grad is not None) for w in weights], device=self._group.device)
            torch.distributed.all_reduce(reached, op=ReduceOp.MAX, group=group)
            for weight, is_reached in zip(weights, reached.tolist(), strict=True):
                if is_reached:
                    weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
                    torch.distributed.all_reduce(weight.grad, group=group)

    def exchanged_bytes(self, module: nn.Module) -> int:
        """Return what all processes send for the gradients of weights that this stage shares with others (a ring)."""
        own = self.first_names(module)
        return sum(
            2 * (len(held) - 1) * own[name].nbytes for name, held in self._holders.items() if name in own and held[1:]
        )

    def norm(self, module: nn.Module) -> Tensor:
        """Return the norm of the gradients of the whole network, the same in every process.

        Source: torch.nn.utils.get_total_norm, the norm of all tensors' norms.
        """
        own, names = self.first_names(module), list(self._holders)
        counted = [
            number
            for number, name in enumerate(names)
            if self._holders[name][0] == self._group.index and own[name].grad is not None
        ]
        norms = torch.zeros(len(names), device=self._group.device)
        if counted:
            gradients: Any = [own[names[number]].grad for number in counted]
            norms[counted] = torch.stack(torch._foreach_norm(gradients)).to(norms.device, norms.dtype)
        torch.distributed.all_reduce(norms)
        # Of as many norms, in the same order, as one process takes it of: the same in every bit.
        return torch.linalg.vector_norm(norms)

    def weights(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the whole network's weights and buffers in the first process, on the CPU; in others their own.

        Args:
            state: of this process's stage; every process has to call it.
        """
        found = self._collected(dict(state))
        return {name: found[name] for name in self.shapes if name in found}

    def optimizer_state(self, module: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
        """Return the state of an optimizer of the whole network in the first process; every process has to call it."""
        state = optimizer.state_dict()
        tensors, plain = dict[str, Tensor](), dict[str, dict[str, Any]]()
        for place, name in enumerate(self._names_in(module, optimizer)):
            for key, value in state["state"].get(place, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{name}\n{key}"] = value
                else:
                    plain.setdefault(name, {})[key] = value
        groups = {
            bool(held["params"][0].ndim > 1): group
            for held, group in zip(optimizer.param_groups, state["param_groups"], strict=True)
        }
        gathered = self._gathered((plain, groups))
        return self._whole_state(self._collected(tensors), gathered)

    def own_optimizer_state(self, module: nn.Module, optimizer: Optimizer, whole: Mapping[str, Any]) -> dict[str, Any]:
        """Return this stage's part of the state of an optimizer of the whole network."""
        places = [self._place_of[name] for name in self._names_in(module, optimizer)]
        states = {own: whole["state"][place] for own, place in enumerate(places) if place in whole["state"]}
        return {**optimizer.state_dict(), "state": states}

    def _names_in(self, module: nn.Module, optimizer: Optimizer) -> list[str]:
        names = {id(weight): name for name, weight in self.first_names(module).items()}
        return [names[id(weight)] for group in optimizer.param_groups for weight in group["params"]]

    def _whole_state(self, tensors: Mapping[str, Tensor], gathered: Sequence[Any]) -> dict[str, Any]:
        place_of = self._place_of
        states: dict[int, dict[str, Any]] = {}
        for key, tensor in tensors.items():
            name, _, field = key.partition("\n")
            states.setdefault(place_of[name], {})[field] = tensor
        groups: dict[bool, Any] = {}
        for plain, of_stage in gathered:
            groups = {**of_stage, **groups}
            for name, values in plain.items():
                states.setdefault(place_of[name], {}).update(values)
        options = [groups[kind] for kind in sorted(groups, reverse=True)]  # decayed ones first, as `decay_groups`
        whole = [
            {**option, "params": [place_of[name] for name in names]}
            for option, names in zip(options, self._order, strict=bool(gathered))
        ]
        return {"state": states, "param_groups": whole}

    def _gathered(self, value: Any) -> list[Any]:
        found: list[Any] | None = [None] * self._group.count if self._group.is_first else None
        torch.distributed.gather_object(value, found)
        return found or []

    def _collected(self, own: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of all processes in the first, on the CPU; in the others what they have."""
        described = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in own.items()]
        collected = {name: tensor.detach() for name, tensor in own.items()}
        for number, tensors in enumerate(self._gathered(described)):
            for name, shape, dtype in tensors if number else ():
                buffer = torch.empty(shape, dtype=dtype, device=self._group.device)
                torch.distributed.recv(buffer, src=number)
                collected.setdefault(name, buffer.cpu())
        if not self._group.is_first:
            for tensor in own.values():
                torch.distributed.send(tensor.detach().to(self._group.device).contiguous(), dst=0)
        return collected


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shapes of tensors by name."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def _stages_of(name: str, stages: Sequence[Sequence[str]]) -> Iterable[int]:
    """Return the stages that hold a weight: those of its part, or all if it belongs to none."""
    found = [number for number, parts in enumerate(stages) if any(name.startswith(f"{part}.") for part in parts)]
    return found or range(len(stages))

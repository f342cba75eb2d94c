"""The optimizer of a traced step: any class of `torch.optim`, or of the user's own, with the kernels of a GPU."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from eightgig.core.addresses import at_address
from eightgig.core.errors import ConfigurationError
from eightgig.vram.tracing.eight_bit import CountedAdamW8bit
from eightgig.vram.tracing.options import StepOptions

# Those of recipes, as the train stage makes them; what a recipe may set besides plays no part in memory.
_OF_RECIPES: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-4}),
    "adamw8bit": (CountedAdamW8bit, {}),
}
_LEARNING_RATE = 1e-3  # of no consequence, but some have no default


class NoOptimizer(torch.optim.Optimizer):
    """Keeps nothing and steps nothing: for passes that leave gradients."""

    def __init__(self, weights: Iterable[nn.Parameter]) -> None:
        super().__init__(weights, {})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Do nothing."""


def make_optimizer(weights: list[nn.Parameter], options: StepOptions) -> torch.optim.Optimizer:
    """Return the optimizer that the options name, over these weights.

    Raises:
        ConfigurationError: there is none of that name, or it does not take these arguments.
    """
    if options.optimizer == "none" or not weights:
        return NoOptimizer(weights or [nn.Parameter(torch.empty(0))])
    factory, arguments = _factory_of(options.optimizer)
    if factory is torch.optim.LBFGS:
        raise ConfigurationError(
            "LBFGS evaluates the loss several times in one step, as often as its values ask for: it cannot be traced "
            "without them"
        )
    arguments = {**_kernel_of(factory, options), **arguments, **options.optimizer_arguments}
    try:
        made = factory(weights, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"the optimizer {options.optimizer!r} cannot be made with {arguments}: {error}"
        ) from error
    if not isinstance(made, torch.optim.Optimizer):
        raise ConfigurationError(
            f"{options.optimizer} gave {type(made).__name__}; expected a torch.optim.Optimizer over the weights"
        )
    return made


def _factory_of(name: str) -> tuple[Any, dict[str, Any]]:
    if name in _OF_RECIPES:
        return _OF_RECIPES[name]
    if ":" in name:
        try:
            return at_address(name), {}
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the optimizer {name!r} cannot be imported: {error}. Write it as package.module:Class"
            ) from error
    by_name = {kind.__name__.lower(): kind for kind in vars(torch.optim).values() if _is_optimizer(kind)}
    kind = by_name.get(name.lower())
    if kind is None:
        raise ConfigurationError(
            f"there is no optimizer {name!r}: write {', '.join(sorted({*_OF_RECIPES, *by_name, 'none'}))}, or a class "
            "of your own as package.module:Class"
        )
    return kind, {}


def _is_optimizer(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer


def _kernel_of(factory: Any, options: StepOptions) -> dict[str, Any]:
    """Return the arguments for a kind of kernel; on a GPU torch takes `foreach` where nothing is said."""
    takes = inspect.signature(factory).parameters
    chosen = {"lr": _LEARNING_RATE} if "lr" in takes else {}
    if options.optimizer_kernel == "fused" and "fused" in takes:
        return {**chosen, "fused": True}
    if "foreach" in takes:
        return {**chosen, "foreach": options.optimizer_kernel != "plain"}
    return chosen

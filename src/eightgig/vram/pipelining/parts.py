"""The parts that a network is cut between: its blocks, and what stands beside them."""

from torch import nn

from eightgig.vram.runtime.recompute import blocks_of

_CONTAINERS = {nn.Sequential, nn.ModuleList, nn.ModuleDict}


def parts_of(network: nn.Module) -> dict[str, nn.Module]:
    """Return a network's parts by name, in the order in which they are registered.

    A part is never cut: a block (as activation checkpointing has it), or what is left when all that holds blocks is
    taken apart. Plain containers outside of blocks are taken apart, too: they are nothing but what they contain.
    """
    inside = {id(part) for block in blocks_of(network) for part in block.modules()}
    blocks = {id(block) for block in blocks_of(network)}
    holding = {id(part) for part in network.modules() if any(id(child) in blocks for child in part.modules())} - blocks
    parts: dict[str, nn.Module] = {}

    def collect(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            path = f"{prefix}{name}"
            opened = id(child) in holding or (type(child) in _CONTAINERS and id(child) not in inside)
            if opened and any(True for _ in child.children()):
                collect(child, f"{path}.")
            elif child not in parts.values():
                parts[path] = child

    collect(network, "")
    return parts

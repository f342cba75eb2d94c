"""Reads what torch.cuda.memory._dump_snapshot writes: plain data out of a pickle, and nothing that could run code.

Source of the format, torch 2.1 to 2.14: torch/csrc/cuda/Module.cpp, torch/csrc/cuda/memory_snapshot.cpp and
torch/cuda/memory.py.
"""

import io
import itertools
import pickle
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from eightgig.core.errors import ConfigurationError, DataError
from eightgig.core.units import MIB
from eightgig.vram.allocator.blocks import DEFAULT_POOL, LARGE_SEGMENT, AllocatorOptions, PoolId

MOST_BYTES = 1 << 43  # 8 TiB: no card has as much, so a size beyond it is damage

Releases = Literal["all", "named"]

# What changes memory.
ACTIONS = (
    "alloc",
    "free_requested",
    "free_completed",
    "segment_alloc",
    "segment_free",
    "segment_map",
    "segment_unmap",
)
_REMARKS = ("snapshot", "oom", "annotate", "user_defined")  # these only say something
_PLAIN_OPCODES = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK, pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.MEMOIZE, pickle.BINPUT, pickle.LONG_BINPUT, pickle.BINGET, pickle.LONG_BINGET),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
    *(pickle.BINUNICODE, pickle.SHORT_BINUNICODE, pickle.EMPTY_DICT, pickle.EMPTY_LIST),
    *(pickle.APPEND, pickle.APPENDS, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.INST),  # these end in find_class, which names what it refuses
)
_DAMAGE = (
    pickle.UnpicklingError,
    AssertionError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


class TraceEntry(NamedTuple):
    """One action of the allocator. `position` is its index in the file's trace; `pool_id` is None before torch 2.9."""

    position: int
    action: str
    address: int
    num_bytes: int
    stream: int
    pool_id: PoolId | None


class BlockState(NamedTuple):
    """A block of a segment when the snapshot was taken: `active_allocated`, `active_pending_free` or `inactive`."""

    address: int
    num_bytes: int
    state: str


@dataclass(frozen=True)
class SegmentState:
    """A segment when the snapshot was taken; of an expandable one, a range of pages without a gap."""

    address: int
    num_bytes: int
    stream: int
    is_small: bool
    pool_id: PoolId
    is_expandable: bool
    blocks: tuple[BlockState, ...]


@dataclass(frozen=True)
class Snapshot:
    """What a file says of each device.

    Attributes:
        segments: by device.
        traces: by device, the actions that change memory, in order.
        options: the allocator's settings.
        releases: whether segments are given back `all` at once, or the `named` ones where settings choose among them.
        notes: what of the settings is not simulated, for a person.
    """

    segments: Mapping[int, tuple[SegmentState, ...]]
    traces: tuple[tuple[TraceEntry, ...], ...]
    options: AllocatorOptions = field(default_factory=AllocatorOptions)
    releases: Releases = "all"
    notes: tuple[str, ...] = ()


def read_snapshot(path: Path) -> Snapshot:
    """Return the content of a snapshot file. About a second for 4 MB: the safe reader is written in Python.

    Raises:
        DataError: the file is missing, damaged, refers to code, or is not a snapshot.
    """
    content = _mapping(_plain_data(path), f"{path.name}")
    segments: dict[int, list[SegmentState]] = {}
    for index, one in enumerate(_list(content, "segments", path.name)):
        where = f"{path.name}: segment {index}"
        raw = _mapping(one, where)
        segments.setdefault(_number(raw, "device", where), []).append(_segment(raw, where))
    traces = [
        _trace(raw, f"{path.name}: trace {i}") for i, raw in enumerate(_list(content, "device_traces", path.name))
    ]
    settings = _mapping(content.get("allocator_settings", {}), f"{path.name}: allocator_settings")
    options = _options(settings, path.name)
    notes = _notes(settings, options)
    by_device = {device: _apart(some, path.name) for device, some in segments.items()}
    return Snapshot(by_device, tuple(traces), options, "named" if notes else "all", notes)


class _PlainUnpickler(pickle._Unpickler):  # the one written in Python: a damaged file cannot make it fill the memory
    """Builds dicts, lists, pairs of numbers, strings and numbers; all else in a pickle is refused."""

    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        raise DataError(f"it refers to code ({module}.{name}); a snapshot holds plain data only. It was not run.")

    def load_pair(self) -> None:
        first, second = self.stack[-2:]
        if not (isinstance(first, int) and isinstance(second, int)):
            raise pickle.UnpicklingError("a pair that is not of numbers")
        self.stack[-2:] = [(first, second)]

    def refuse(self) -> None:
        raise pickle.UnpicklingError("not plain data")


def _plain_opcodes() -> dict[int, Callable[..., None]]:
    known: dict[int, Callable[..., None]] = pickle._Unpickler.dispatch
    plain = {code[0]: known[code[0]] for code in _PLAIN_OPCODES}
    plain[pickle.TUPLE2[0]] = _PlainUnpickler.load_pair
    return dict.fromkeys(range(256), _PlainUnpickler.refuse) | plain


_PlainUnpickler.dispatch = _plain_opcodes()


def _plain_data(path: Path) -> object:
    try:
        # From memory, as the reader of a file makes room for whatever length stands in it.
        return _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). Give a file of _dump_snapshot.") from error
    except DataError as error:
        raise DataError(f"{path.name}: {error}") from error
    except _DAMAGE as error:
        raise DataError(
            f"{path.name}: not a snapshot, or damaged ({type(error).__name__}). Wanted is a file that "
            "torch.cuda.memory._dump_snapshot wrote."
        ) from error


def _segment(raw: Mapping[str, object], where: str) -> SegmentState:
    address, total = _number(raw, "address", where), _number(raw, "total_size", where, below=MOST_BYTES)
    blocks, position = [], address
    for index, block in enumerate(_list(raw, "blocks", where)):
        state = _block(block, position, f"{where}, block {index}")
        blocks.append(state)
        position += state.num_bytes
    if position != address + total or not blocks:
        raise DataError(f"{where}: its {len(blocks)} blocks do not fill it; the file is damaged.")
    return SegmentState(
        address=address,
        num_bytes=total,
        stream=_number(raw, "stream", where, least=-(2**63)),
        is_small=raw.get("segment_type") == "small",
        pool_id=_pool_id(raw.get("segment_pool_id"), where) or DEFAULT_POOL,
        is_expandable=raw.get("is_expandable") is True,
        blocks=tuple(blocks),
    )


def _block(raw: object, address: int, where: str) -> BlockState:
    block = _mapping(raw, where)
    state = block.get("state")
    if not isinstance(state, str):
        raise DataError(f"{where}: has no 'state'; the file is damaged.")
    return BlockState(address, _number(block, "size", where, least=1, below=MOST_BYTES), state)


def _trace(raw: object, where: str) -> tuple[TraceEntry, ...]:
    if not isinstance(raw, list):
        raise DataError(f"{where}: not a list; the file is damaged.")
    entries = []
    for position, one in enumerate(raw):
        place = f"{where}, entry {position}"
        entry = _mapping(one, place)
        action = entry.get("action")
        if isinstance(action, str) and action in ACTIONS:
            entries.append(_entry(entry, action, position, place))
        elif action not in _REMARKS:  # were it left out, "exact" would be said of another trace
            known = ", ".join((*ACTIONS, *_REMARKS))
            raise DataError(f"{place}: the action {action!r} is not known; wanted one of {known}.")
    return tuple(entries)


def _entry(entry: Mapping[str, object], action: str, position: int, where: str) -> TraceEntry:
    return TraceEntry(
        position,
        action,
        _number(entry, "addr", where),
        _number(entry, "size", where, least=1, below=MOST_BYTES),
        _number(entry, "stream", where, least=-(2**63)),
        _pool_id(entry.get("pool_id"), where),
    )


def _options(settings: Mapping[str, object], where: str) -> AllocatorOptions:
    split = settings.get("max_split_size")
    text = str(settings.get("PYTORCH_CUDA_ALLOC_CONF") or settings.get("PYTORCH_ALLOC_CONF") or "")
    try:
        return AllocatorOptions(
            large_segment_bytes=_mebibytes(text, "large_segment_size_mb", LARGE_SEGMENT),
            max_split_bytes=split if isinstance(split, int) and 0 < split < 2**62 else None,  # -1 is no bound
            max_non_split_rounding_bytes=_mebibytes(text, "max_non_split_rounding_mb", LARGE_SEGMENT),
            roundup_power2_divisions=_divisions(settings.get("roundup_power2_divisions")),
        )
    except ConfigurationError as error:
        raise DataError(f"{where}: {error}") from error


def _notes(settings: Mapping[str, object], options: AllocatorOptions) -> tuple[str, ...]:
    """Name the settings that choose which segments are given back: the choice is taken from the trace."""
    chosen = [("max_split_size", options.max_split_bytes is not None)]
    chosen.append(("garbage_collection_threshold", bool(settings.get("garbage_collection_threshold"))))
    return tuple(f"{name} is set: which segments are given back is not simulated" for name, is_set in chosen if is_set)


def _divisions(raw: object) -> tuple[int, ...]:
    """Read the divisions by power of two; none of them set is none at all."""
    if not isinstance(raw, dict):
        return ()
    numbers = tuple(number for number in raw.values() if isinstance(number, int) and 0 <= number < 2**32)
    return numbers if any(numbers) else ()  # torch writes them from 1 MiB upwards


def _mebibytes(settings: str, name: str, default: int) -> int:
    found = re.search(rf"{name}\s*:\s*(\d{{1,6}})\b", settings)
    return max(int(found[1]) * MIB, default) if found else default  # torch refuses less than its default


def _apart(segments: list[SegmentState], where: str) -> tuple[SegmentState, ...]:
    ordered = sorted(segments, key=lambda segment: segment.address)
    for first, second in itertools.pairwise(ordered):
        if first.address + first.num_bytes > second.address:
            raise DataError(f"{where}: two segments overlap at {second.address:#x}; the file is damaged.")
    return tuple(ordered)


def _mapping(raw: object, where: str) -> Mapping[str, object]:
    if not isinstance(raw, dict):
        raise DataError(f"{where}: a dict was expected; this is no snapshot of _dump_snapshot, or it is damaged.")
    return raw


def _list(raw: Mapping[str, object], name: str, where: str) -> list[object]:
    found = raw.get(name)
    if not isinstance(found, list):
        raise DataError(f"{where}: has no list '{name}'; this is no snapshot of _dump_snapshot, or it is damaged.")
    return found


def _number(raw: Mapping[str, object], name: str, where: str, least: int = 0, below: int = 2**63) -> int:
    found = raw.get(name)
    if not isinstance(found, int) or isinstance(found, bool) or not least <= found < below:
        raise DataError(f"{where}: has no usable '{name}'; the file is damaged.")
    return found


def _pool_id(raw: object, where: str) -> PoolId | None:
    if raw is None:
        return None
    if isinstance(raw, (tuple, list)) and len(raw) == 2 and all(isinstance(part, int) for part in raw):
        return raw[0], raw[1]
    raise DataError(f"{where}: the id of its memory pool is not a pair of numbers; the file is damaged.")

"""Checks of what feeds the card: cores, threads, memory, shared memory, open files, disk, Python."""

from functools import partial

from eightgig.core.units import GIB, format_bytes, gib, mib
from eightgig.doctor.advice import Advice
from eightgig.doctor.disk import DiskKind
from eightgig.doctor.machine import Machine

# One core of an AMD EPYC decodes and crops 421 images a second from a store, 136 with ImageFolder and the usual
# transforms (benchmarks/results/data_loading-amd-epyc.json: two workers U, none F). EfficientNet-B3 at 300 px takes
# about 280 a second on an RTX 3070 (scaled from published runs): one core feeds it; ImageFolder would take over two.
_CARD_TAKES = 280
_WANTED_CORES = 3  # `num_workers: auto` leaves two to training

# Measured on Linux with torch 2.14.1: 0.8 GiB in the training process before its first batch, 0.34 GiB in each loader
# process that is spawned (13 MiB forked); EfficientNet-B3 at batch 32 on the CPU added 4.2 GiB (docs/measured.md).
_WANTED_MEMORY = 7 * GIB  # a machine sold with 8 GB shows a little less
_WANTED_AVAILABLE = 3 * GIB  # 0.8 + 4 x 0.34 GiB, and some air
_ARTICLE_STORE = 100_000 * 78_325  # bytes: the article's set at the size of the measured photos

# A loader process keeps `prefetch_factor` = 2 batches in shared memory, and one is in use: 32 x 300 px, 16 x 640 px.
_SMALL_BATCH = 32 * 3 * 300 * 300
_LARGE_BATCH = 16 * 3 * 640 * 640

_WANTED_FILES = 1024  # Linux's usual soft limit; torch holds a file for each shared tensor (torch.multiprocessing)
_LEAST_SPACE = GIB
_WANTED_SPACE = 10 * GIB  # the article's 100,000 images are 7.3 GiB, and checkpoints

# A hard disk of 7,200 turns a minute waits half a turn for each image: 4.2 ms, before its head has moved.
_HARD_DISK_IMAGES = int(2 * 7200 / 60)
_PYTHON = ((3, 11), (3, 13))


def cores(machine: Machine) -> Advice:
    """DOC017: cores for loading and training."""
    host = machine.host
    usable, quota = host.usable_cores, host.quota_cores
    workers = host.loader_workers
    wanted = f"{_WANTED_CORES} or more (article: 6, for slower loaders)"
    about = partial(Advice, code="DOC017", title="CPU cores", wanted=wanted)
    if quota is not None and quota < host.cores:
        threads = max(1, int(quota))
        return about(
            status="warning",
            what_is=f"{host.cores} are seen, the container allows the time of {quota:.1f}: too many threads will fight",
            to_do=f"export OMP_NUM_THREADS={threads}; --params <case>.train.num_workers={max(0, threads - 2)}; "
            "or give the container more (docker run --cpus)",
        )
    loading = f"of which {workers} load" if workers else "and the training process loads images itself"
    what = f"{usable:.0f}, {loading}"
    if usable >= _WANTED_CORES:
        return about(status="ok", what_is=what)
    if machine.gpu is None:
        return about(status="note", what_is=what)
    to_do = "the card will wait for images; decode them once: --params <case>.data.tier=decoded"
    return about(status="warning", what_is=what, to_do=to_do)


def threads(machine: Machine) -> Advice:
    """DOC018: threads of torch on the CPU."""
    setting, usable = machine.host.omp_threads, machine.host.usable_cores
    about = partial(Advice, code="DOC018", title="CPU threads", wanted=f"no more than cores ({usable:.0f})")
    if setting is None or not setting.strip().isdigit():
        known = machine.software.torch.threads if machine.software.torch else None
        return about(status="ok", what_is="torch chooses" + (f" {known}" if known else ""))
    what = f"OMP_NUM_THREADS={setting}"
    if int(setting) > usable:
        return about(status="warning", what_is=what, to_do=f"export OMP_NUM_THREADS={max(1, int(usable))}, or unset it")
    if int(setting) < usable and machine.gpu is None:
        return about(status="note", what_is=what, to_do="unset OMP_NUM_THREADS to train on all cores")
    return about(status="ok", what_is=what)


def memory(machine: Machine) -> Advice | None:
    """DOC019: main memory."""
    host = machine.host
    total, available = host.usable_memory_bytes, host.memory_available_bytes
    if total is None or available is None:
        return None
    available = min(available, total)
    within = " (the container's limit)" if host.memory_limit_bytes == total else ""
    about = partial(
        Advice,
        code="DOC019",
        title="memory",
        what_is=f"{gib(available):.1f} of {gib(total):.1f} GiB free{within}",
        wanted=f"8 GB (article: 32, which also keep its {gib(_ARTICLE_STORE):.1f} GiB of images)",
    )
    if total >= _WANTED_MEMORY and available >= _WANTED_AVAILABLE:
        return about(status="ok")
    if total >= _WANTED_MEMORY:
        return about(status="warning", to_do=f"close programs: a run takes up to {gib(_WANTED_AVAILABLE):.0f} GiB")
    if host.is_wsl:  # Microsoft, "Advanced settings configuration in WSL": half of Windows' memory by default
        return about(status="warning", to_do="WSL gets half of it; for more: memory=12GB in %UserProfile%\\.wslconfig")
    return about(status="warning", to_do="--params <case>.train.num_workers=0, and no other programs beside")


def shared_memory(machine: Machine) -> Advice | None:
    """DOC020: /dev/shm, through which loader processes hand over batches."""
    host = machine.host
    if host.shm_free_bytes is None:
        return None
    held = 2 * host.loader_workers + 1
    least, most = held * _SMALL_BATCH, held * _LARGE_BATCH
    about = partial(
        Advice,
        code="DOC020",
        title="shared memory",
        what_is=f"{format_bytes(host.shm_free_bytes)} free in /dev/shm",
        wanted=f"{mib(most):.0f} MiB: {held} batches of 16 x 640 px",
    )
    if not host.loader_workers:
        return about(status="ok", wanted="any: so few cores have no loader processes")
    if host.shm_free_bytes >= most:
        return about(status="ok")
    larger = "docker run --shm-size=1g (its default is 64 MiB)" if host.is_container else "remount it larger"
    return about(
        status="problem" if host.shm_free_bytes < least else "warning",
        to_do=f"{larger}, or --params <case>.train.num_workers=0; else loaders die with a bus error",
    )


def open_files(machine: Machine) -> Advice | None:
    """DOC021: how many files a process may hold open."""
    limit = machine.host.open_files
    if limit is None:
        return None
    about = partial(Advice, code="DOC021", title="open files", what_is=_count(limit), wanted=f"{_WANTED_FILES} or more")
    if limit < 0 or limit >= _WANTED_FILES:  # -1 is no limit
        return about(status="ok")
    return about(status="warning", to_do=f"ulimit -n {_WANTED_FILES}")


def disk_kind(machine: Machine) -> Advice | None:
    """DOC022: how fast single images come from the disk under the data folder."""
    disk = machine.disk
    if disk.kind is None:
        return None
    system = f" ({disk.file_system})" if disk.file_system else ""
    about = partial(
        Advice,
        code="DOC022",
        title="disk",
        what_is=f"{disk.folder} is on: {disk.kind}{f' {disk.device}' if disk.device else ''}{system}",
        wanted=f"an SSD, best NVMe: {_CARD_TAKES} images/s in any order",
    )
    if disk.kind == "memory":
        return about(status="note", to_do="what is written there is lost at the next start of the machine")
    to_do = _slow_disk(disk.kind)
    return about(status="warning" if to_do else "ok", to_do=to_do)


def disk_space(machine: Machine) -> Advice | None:
    """DOC023: free space for the store and checkpoints."""
    disk = machine.disk
    if disk.free_bytes is None:
        return None
    about = partial(
        Advice,
        code="DOC023",
        title="disk space",
        what_is=f"{gib(disk.free_bytes):.1f} GiB free for {disk.folder}",
        wanted=f"{gib(_WANTED_SPACE):.0f} GiB: a store is as large as your images",
    )
    if disk.free_bytes >= _WANTED_SPACE:
        return about(status="ok")
    status = "problem" if disk.free_bytes < _LEAST_SPACE else "warning"
    return about(status=status, to_do="make room, or name another disk: export EIGHTGIG_DATA=/large/disk/data")


def python(machine: Machine) -> Advice:
    """DOC024: the Python that runs this."""
    found = machine.software.python
    low, high = (".".join(map(str, pair)) for pair in _PYTHON)
    about = partial(Advice, code="DOC024", title="Python", what_is=found, wanted=f"{low} to {high}")
    major, minor = (int(part) for part in found.split(".")[:2])
    if _PYTHON[0] <= (major, minor) <= _PYTHON[1]:
        return about(status="ok")
    return about(status="problem", to_do="make environment PYTHON=python3.12")


def _slow_disk(kind: DiskKind) -> str:
    move = "export EIGHTGIG_DATA=/a/folder/on/an/SSD"
    if kind == "hard disk":
        return f"it reads fewer than {_HARD_DISK_IMAGES} images a second, until memory holds the store: {move}"
    if kind == "network drive":
        return f"copy the data to a disk of this machine: {move}"
    if kind == "Windows drive":
        return "Windows' drives are slow to read from WSL: export EIGHTGIG_DATA=~/eightgig-data"
    return ""


def _count(limit: int) -> str:
    return "no limit" if limit < 0 else str(limit)

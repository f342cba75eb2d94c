"""Ingest of many small files: speed, memory, and what a kill costs.

    python benchmarks/ingest.py --files 20000

Makes the files in a temporary folder, inspects them and writes a sharded store in a process of its own: once
undisturbed; once killed (SIGKILL) at 60 % of the inspection, again at 60 % of the store, and run to its end. Prints
JSON: seconds, files a second, growth of resident memory, files opened, and whether both stores are equal byte by byte.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_CLASSES = 100


@dataclass
class Outcome:
    """One process: files opened in each phase, growth of resident memory, seconds of each phase."""

    opened: dict[str, int]
    growth_mb: float
    seconds: dict[str, float]


@dataclass
class Trial:
    """Ingests of one folder into one place, each in a process of its own."""

    photos: Path
    out: Path
    opened_in_all: Counter[str] = field(default_factory=Counter)

    def run(self, *, kill_inspecting_at: int = 0, kill_storing_at: int = 0) -> Outcome:
        """Run the ingest; it kills itself when so many files are done."""
        self.out.mkdir(exist_ok=True)
        arguments = ["--child", str(self.photos), str(self.out), str(kill_inspecting_at), str(kill_storing_at)]
        command = [sys.executable, __file__, *arguments]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - this very file
        wanted = -signal.SIGKILL if kill_inspecting_at or kill_storing_at else 0
        if ended.returncode != wanted:
            raise RuntimeError(f"ended with {ended.returncode}, wanted {wanted}: {ended.stderr}")
        told = json.loads((self.out / "told.json").read_text())
        self.opened_in_all.update(told["opened"])
        return Outcome(**told)

    def files(self) -> dict[str, bytes]:
        """Return the content of all files of the store."""
        store = self.out / "store"
        return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*.h5"))}


def make_files(root: Path, count: int) -> None:
    """Write small JPEGs in class folders, no two with the same pixels."""
    import numpy as np
    import simplejpeg

    for number in range(count):
        folder = root / f"class_{number % _CLASSES:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels_HWC = np.full((24, 24, 3), number % 251, np.uint8)
        pixels_HWC[:16, :16] = (
            np.unpackbits(np.array([number], ">u2").view(np.uint8)).repeat(16).reshape(16, 16, 1) * 255
        )
        jpeg = simplejpeg.encode_jpeg(pixels_HWC, quality=95)
        (folder / f"{number:06d}.jpg").write_bytes(jpeg)


def _child(photos: Path, out: Path, kill_inspecting_at: int, kill_storing_at: int) -> None:
    import psutil

    from eightgig.data.images import decoding as images
    from eightgig.data.images.parameters import DataParameters
    from eightgig.data.ingest.folders import scan_class_folders
    from eightgig.data.ingest.manifest import build_manifest
    from eightgig.data.ingest.splits import make_splits
    from eightgig.data.store import rules as store_rules
    from eightgig.data.store.reader import write_store

    opened, seconds, memory = Counter(inspect=0, store=0), {"inspect": 0.0, "store": 0.0}, psutil.Process().memory_info
    start, most = memory().rss, memory().rss

    def tell() -> None:
        told = {"opened": opened, "growth_mb": round((most - start) / 1e6, 1), "seconds": seconds}
        (out / "told.json").write_text(json.dumps(told))

    def step(phase: str, kill_at: int, begun: float, done: int) -> None:
        nonlocal most
        if done % 100 == 0:
            most = max(most, memory().rss)
        seconds[phase] = round(time.perf_counter() - begun, 2)
        if done == kill_at:
            tell()
            os.kill(os.getpid(), signal.SIGKILL)

    for module, phase in ((images, "inspect"), (store_rules, "store")):
        _count(module, phase, opened)
    parameters = DataParameters(root=str(photos), min_images_per_class=3)
    begun = time.perf_counter()
    manifest, _ = build_manifest(
        scan_class_folders(photos),
        parameters,
        lambda done, _: step("inspect", kill_inspecting_at, begun, done),
        journal=out / "journal" / "inspected.jsonl",
    )
    splits = make_splits(manifest, val_fraction=0.15, test_fraction=0.15, seed=0)
    begun = time.perf_counter()
    write_store(
        out / "store" / "store.h5",
        manifest.iloc[splits["index"]],
        photos,
        sorted(manifest["class_name"].unique()),
        shard_bytes=int(manifest["byte_count"].sum()) // 5,
        progress=lambda done, _: step("store", kill_storing_at, begun, done),
    )
    tell()


def _count(module: object, phase: str, opened: Counter[str]) -> None:
    read = module._read  # type: ignore[attr-defined]

    def counting(*arguments: object) -> object:
        opened[phase] += 1
        return read(*arguments)

    module._read = counting  # type: ignore[attr-defined]


def main() -> None:
    """Run the trials and print their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder / "photos", count)
        whole, killed = Trial(folder / "photos", folder / "whole"), Trial(folder / "photos", folder / "killed")
        undisturbed = whole.run()
        killed.run(kill_inspecting_at=count * 6 // 10)
        killed.run(kill_storing_at=count * 6 // 10)
        killed.run()
        figures = {
            "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
            "files": count,
            "seconds": undisturbed.seconds,
            "files_per_second": {phase: round(count / value) for phase, value in undisturbed.seconds.items()},
            "growth_mb": undisturbed.growth_mb,
            "opened_undisturbed": undisturbed.opened,
            "opened_when_killed_twice": dict(killed.opened_in_all),
            "stores_equal": whole.files() == killed.files(),
            "shards": len(whole.files()) - 1,
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    if "--child" in sys.argv:
        photos, out, *kills = sys.argv[sys.argv.index("--child") + 1 :]
        _child(Path(photos), Path(out), *map(int, kills))
    else:
        main()

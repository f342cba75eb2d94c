"""Fixtures for the tests of the fault table (notes/reliability.md beside the project), and where each row is tested.

row  fault                                  test
 1   SIGKILL in mid-epoch                   test_training.py
 2   SIGKILL in a checkpoint write          test_training.py
 3   bit flip in a checkpoint               test_training.py
 4   disk full at a checkpoint              test_training.py
 5   disk full while writing HDF5           test_stores.py    test_row_05_disk_full_while_writing_hdf5
 6   SIGKILL while writing HDF5             test_stores.py    test_row_06_sigkill_while_writing_hdf5
 7   bit flip in HDF5                       test_stores.py    test_row_07_bit_flip_in_hdf5
 8   two runs, same store                   test_stores.py    test_row_08_two_writers_of_one_image_store,
                                                              ..._of_one_token_store, ..._file_locking_is_never_...
                                            (two whole runs: test_signals.py or the hook's own test)
 9   killed save of a dataset               test_saving.py    test_row_09_killed_save_of_a_file, ..._of_a_pair_of_files,
                                                              ..._of_an_image_store, ..._of_many_files
10   truncated, empty, HTML in .jpg         test_images.py  test_row_10_truncated_empty_and_html_files_are_quarantined
11   corrupt middle of a JPEG               test_images.py  test_row_11_corrupt_middle_of_a_jpeg
12   grey, CMYK, RGBA, palette, 1-bit       test_images.py  test_row_12_every_kind_of_pixel_becomes_rgb
13   16-bit PNG                             test_images.py  test_row_13_16_bit_png_is_scaled
14   EXIF orientation                       test_images.py  test_row_14_exif_orientation_is_applied
15   animated GIF, PNG, WebP                test_images.py  test_row_15_of_an_animation_the_first_frame
16   decompression bomb                     test_images.py  test_row_16_decompression_bomb_is_refused_by_its_header
17   empty class, one image, dot-folders    test_images.py  test_row_17_all_bad_classes_in_one_message_and_...
18   labels out of range, class mismatch    test_images.py  test_row_18_... (six: folders, labels, boxes, masks)
19   non-UTF-8 text, BOM, NUL               test_texts.py     test_row_19_non_utf_8_bom_and_nul_in_...
20   a loader process killed                test_training.py
21   a loader process hangs                 test_training.py
22   the trainer killed                     test_training.py
23   NaN loss, NaN weights                  test_training.py
24   CUDA out of memory in a step           test_memory.py    test_row_24_cuda_out_of_memory_in_a_step,
                                                              ..._the_failed_attempt_leaves_no_trace
                                            (raised by the network: an H200 or no GPU runs short of nothing here; on a
                                            card it is tests/training/test_recovery.py, marked gpu)
25   the MLflow server dies                 test_tracking.py
26   Ctrl-C                                 test_training.py, test_signals.py
27   SIGTERM                                test_training.py, test_signals.py
28   read-only data folder                  test_saving.py    test_row_28_read_only_data_folder (of datasets; that a run
                                            fails before it trains is the hook's own test)
29   a rank dies or hangs                   test_ranks.py
30   stale engine                           test_engines.py   test_row_30_stale_engine, ..._engine_of_an_older_onnx_file
31   HDF5 opened before a fork              test_stores.py    test_row_31_each_forked_worker_opens_its_own_file,
                                                              ..._a_spawned_process_opens_its_own_file

What cannot be done everywhere is skipped with the reason: a small or read-only disk needs `unshare` and `mount` (rows 5
and 28; the limit on a file's size and a file in the place of a folder are tested all the same), TensorRT's libraries
exist for two systems (row 30), and Windows has neither SIGKILL nor fork (rows 5 to 9, 31).
"""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.present import present

HERE = Path(__file__).parent
_ON_SMALL_DISK = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'


def smooth_pixels(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    """Draw soft blobs, which a JPEG keeps nearly as they are."""
    coarse = np.random.default_rng(seed).integers(0, 256, size=(4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode pixels (or a seed of soft blobs, or a Pillow image)."""

    def make(pixels: Any = 0, kind: str = "JPEG", **options: Any) -> bytes:
        pixels = smooth_pixels(pixels) if isinstance(pixels, int) else pixels
        image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return make


@pytest.fixture(scope="session")
def fill_folders(encode: Callable[..., bytes]) -> Callable[..., Path]:
    """Make class folders of different JPEGs: `fill_folders(root, daisy=4, rose=4)`."""

    def make(root: Path, *, first: int = 0, **counts: int) -> Path:
        for place, (name, number) in enumerate(counts.items()):
            (root / name).mkdir(parents=True, exist_ok=True)
            for each in range(number):
                (root / name / f"{each}.jpg").write_bytes(encode(first + 1000 * place + each, quality=90))
        return root

    return make


@pytest.fixture(scope="session")
def on_small_disk(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str], Path], list[str]] | None:
    """Return what turns a command into one for which a folder is a disk of 4 MB (a tmpfs that no other process sees).

    None where this system does not let us mount; the limit on a file's size then has to do.
    """

    def wrapped(command: list[str], folder: Path) -> list[str]:
        folder.mkdir(exist_ok=True)
        return ["unshare", "-rm", "sh", "-c", _ON_SMALL_DISK, "sh", "4m", str(folder), *command]

    try:
        probe = subprocess.run(
            wrapped(["true"], tmp_path_factory.mktemp("probe")), check=False, capture_output=True, timeout=30
        )
    except OSError:
        return None
    return wrapped if probe.returncode == 0 else None


@pytest.fixture(scope="session")
def quietly() -> dict[str, str]:
    """The environment of child processes: one core."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, fill_folders: Callable[..., Path]) -> Path:
    """Two sets of class folders, `old` and `new`: ten images in two classes each."""
    root = tmp_path_factory.mktemp("photos")
    fill_folders(root / "old", daisy=5, rose=5)
    fill_folders(root / "new", first=100, daisy=5, rose=5)
    return root


@pytest.fixture(scope="session")
def store_victim(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[dict]], list[str]]:
    """Return the command that writes stores under faults; see `store_victim.py`."""

    def command(cases: list[dict]) -> list[str]:
        asked = {"photos": str(photos), "work": str(tmp_path_factory.mktemp("work")), "cases": cases}
        return [sys.executable, str(HERE / "store_victim.py"), json.dumps(asked)]

    return command


@pytest.fixture
def wait_in_the_middle(
    store_victim: Callable[[list[dict]], list[str]], quietly: dict[str, str]
) -> Iterator[Callable[[dict], tuple[int, Callable[[], dict]]]]:
    """Start a writer that waits in its middle; give its process id, and what lets it go on and gives how it ended."""
    started: list[subprocess.Popen[str]] = []

    def start(case: dict) -> tuple[int, Callable[[], dict]]:
        pipe = subprocess.PIPE
        process = subprocess.Popen(store_victim([case]), text=True, env=quietly, stdin=pipe, stdout=pipe)
        started.append(process)
        word, number = present(process.stdout).readline().split()
        assert word == "writing"
        return int(number), lambda: json.loads(process.communicate("go on\n", timeout=60)[0])

    yield start
    for process in started:
        process.kill()
        process.wait()

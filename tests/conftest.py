"""What all tests share: where real data may lie, and which tests need a GPU."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a change is judged by what it changes; `--hypothesis-profile=default` draws
# new ones.
settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the project's settings do, before torch is imported

PROJECT = Path(__file__).resolve().parents[1]


def pytest_ignore_collect(collection_path, config):
    """With `-m gpu`, import only files that have such tests: most of the others, and what they want, play no part."""
    if config.option.markexpr.strip() != "gpu" or collection_path.suffix != ".py":
        return None
    if not collection_path.name.startswith("test_"):
        return None
    return True if "mark.gpu" not in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_modifyitems(items):
    """Skip tests that need CUDA where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))


@pytest.fixture
def one_thread(monkeypatch):
    """Sums in one order, here and in processes that are started, so that equal means equal in every bit."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def project_path() -> Path:
    """The project's folder."""
    return PROJECT


@pytest.fixture(scope="session")
def real_flowers() -> Path:
    """A folder of real photos in class folders, where one lies beside the project."""
    folder = PROJECT.parent / "shared" / "data" / "flowers5"
    if not folder.is_dir():
        pytest.skip("no real photos beside the project (../shared/data/flowers5)")
    return folder

"""What all tests share: where real data may lie, and which tests need a GPU."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# The same examples in every run, so that a change is judged by what it changes; `--hypothesis-profile=default` draws
# new ones.
settings.register_profile("steady", derandomize=True)
# For `make mutants`: a failure is enough, and it may take its time.
settings.register_profile("unshrunk", derandomize=True, deadline=None, phases=(Phase.explicit, Phase.generate))
settings.load_profile("steady")

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as the project's settings do, before torch is imported
# Test processes side by side share the cores, as do the processes that they start; more threads than cores wait for
# each other.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    _SHARE = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(_SHARE))

pytest_plugins = ("tests.browser", "tests.image_files", "tests.weight_files")

PROJECT = Path(__file__).resolve().parents[1]


def pytest_ignore_collect(collection_path, config):
    """With `-m gpu`, import only files that have such tests: most of the others, and what they want, play no part."""
    if config.option.markexpr.strip() != "gpu" or collection_path.suffix != ".py":
        return None
    if not collection_path.name.startswith("test_"):
        return None
    return True if "mark.gpu" not in collection_path.read_text(encoding="utf-8") else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep a file's tests in one process, as they share what it makes once.

    Those that use the card stay together, too: each would change what the others measure of its memory.
    """
    import torch
    from xdist.scheduler import LoadFileScheduling

    has_card = torch.cuda.is_available()

    class ByFileOrCard(LoadFileScheduling):
        def _split_scope(self, nodeid):
            path = nodeid.partition("::")[0]
            uses_card = has_card and "mark.gpu" in (PROJECT / path).read_text(encoding="utf-8")
            return "the card" if uses_card else path

    return ByFileOrCard(config, log)


def pytest_collection_modifyitems(items):
    """Skip tests that need CUDA where there is none, and begin with whole case studies.

    They take minutes each, and would end a run with one process waiting for the other.
    """
    items.sort(key=lambda item: item.path.name != "test_whole_case.py")
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs CUDA"))


def pytest_collection_finish():
    """Let collections of garbage pass over what was imported: budgets collect, and each would look at all of torch."""
    gc.collect()
    gc.freeze()


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

"""What several tests of the memory planner share."""

import sys
from pathlib import Path

import pytest

from eightgig.vram.tracing.predictor import Predictor


@pytest.fixture(scope="module")
def tiny_workloads():
    """Let the child process find `tiny_workloads:NAME`."""
    sys.path.insert(0, str(Path(__file__).parent))
    yield
    sys.path.pop(0)


@pytest.fixture(scope="module")
def predictor(tiny_workloads):
    with Predictor() as shared:
        yield shared

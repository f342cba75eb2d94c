"""What keeps a file from being written is said before it is begun."""

import shutil
import subprocess
import sys

import pytest

from eightgig.core.files import space_shortage


def test_a_disk_that_is_too_small(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert space_shortage(tmp_path / "new" / "f", 1000) is None
    assert space_shortage(tmp_path / "f", 1001) == f"only 1000 bytes (1000 B) are free in {tmp_path}"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["new"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_limit_on_the_size_of_one_file(tmp_path):
    code = f"""
import resource
from pathlib import Path
from eightgig.core.files import space_shortage
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
print(space_shortage(Path({str(tmp_path)!r}) / "f", 20_000, largest_file=5000))
print(space_shortage(Path({str(tmp_path)!r}) / "f", 20_000))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "None",
        f"a file of that size is refused in {tmp_path} (File too large; see ulimit -f)",
    ]
    assert not [*tmp_path.iterdir()]

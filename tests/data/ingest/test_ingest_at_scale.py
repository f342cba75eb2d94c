"""4,000 small files through the whole ingest, killed twice (benchmarks/ingest.py does it with 20,000)."""

import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_an_ingest_that_is_killed_goes_on(tmp_path, project_path, monkeypatch):
    monkeypatch.syspath_prepend(str(project_path / "benchmarks"))
    from ingest import Trial, make_files

    make_files(tmp_path / "photos", 4_000)
    undisturbed = Trial(tmp_path / "photos", tmp_path / "undisturbed").run()
    disturbed = Trial(tmp_path / "photos", tmp_path / "disturbed")
    disturbed.run(kill_inspecting_at=2_400)
    disturbed.run(kill_storing_at=2_400)
    ended = disturbed.run()
    assert undisturbed.opened == {"inspect": 4_000, "store": 4_000}
    assert disturbed.opened_in_all["inspect"] <= 4_000 + 2 * 32
    assert disturbed.opened_in_all["store"] <= 4_000 + 2 * 32
    assert ended.opened["inspect"] == 0
    assert ended.opened["store"] <= 1_600 + 32
    assert disturbed.files() == Trial(tmp_path / "photos", tmp_path / "undisturbed").files()
    assert undisturbed.growth_mb < 50

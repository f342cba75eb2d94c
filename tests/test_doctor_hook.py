"""Before a run the doctor says only what may spoil it, once, and never stops it."""

import logging

import pytest
from torch import version

from eightgig import doctor
from eightgig.doctor import Advice, software
from eightgig.doctor.disk import Disk
from eightgig.doctor.graphics import Gpu, Graphics
from eightgig.doctor.host import Host
from eightgig.doctor.machine import Machine
from eightgig.doctor.software import Software
from eightgig.hooks import DoctorHook


def diagnosis(*advice: Advice) -> doctor.Diagnosis:
    machine = Machine(
        graphics=Graphics(),
        host=Host(system="Linux", cores=2),
        software=Software(python="3.12.0"),
        disk=Disk(folder="d"),
    )
    return doctor.Diagnosis(machine=machine, advice=advice, outlook="")


def advice(code: str, status: doctor.Status) -> Advice:
    return Advice(code=code, title="thing", status=status, what_is="a", wanted="b", to_do="c")


def test_warnings_and_problems_once_a_process(monkeypatch, caplog):
    found = [advice("DOC001", "note"), advice("DOC006", "warning"), advice("DOC002", "problem"), advice("DOC024", "ok")]
    monkeypatch.setattr(doctor, "diagnose", lambda depth: diagnosis(*found) if depth == "quick" else pytest.fail(depth))
    hook = DoctorHook()
    with caplog.at_level(logging.INFO, logger="eightgig"):
        hook.before_pipeline_run()
        hook.before_pipeline_run()
    assert [record.getMessage() for record in caplog.records] == [
        "DOC006 thing: a; wanted: b; to do: c",
        "DOC002 thing: a; wanted: b; to do: c",
    ]


@pytest.mark.skipif(version.cuda is None, reason="torch is built for the CPU")
def test_a_card_that_torch_has_no_kernels_for_is_told_before_torch_is_loaded(monkeypatch, caplog):
    card = Gpu(index=0, name="NVIDIA GeForce GTX 1080", uuid="GPU-1", capability=(6, 1))
    graphics = Graphics(driver="580.95.05", driver_cuda=(13, 0), gpus=(card,))
    monkeypatch.setattr("eightgig.doctor.machine.read_graphics", lambda: graphics)
    monkeypatch.setattr("eightgig.doctor.software.read_torch", lambda _: software._from_files())
    with caplog.at_level(logging.INFO, logger="eightgig"):
        DoctorHook().before_pipeline_run()
    (told,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("DOC003")]
    assert "none for the NVIDIA GeForce GTX 1080 (6.1)" in told
    assert doctor.diagnose("quick").outlook.startswith("Until DOC003 is solved, runs use the CPU.")


@pytest.mark.parametrize("error", [OSError("unreadable"), ValueError("garbled")])
def test_a_reading_that_goes_wrong_does_not_stop_the_run(monkeypatch, caplog, error):
    def fail(_depth: str) -> doctor.Diagnosis:
        raise error

    monkeypatch.setattr(doctor, "diagnose", fail)
    with caplog.at_level(logging.INFO, logger="eightgig"):
        DoctorHook().before_pipeline_run()
    assert caplog.records == []


def test_runs_begin_with_it(project_path):
    from kedro.framework.project import settings
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(project_path)
    assert [type(hook) for hook in settings.HOOKS].count(DoctorHook) == 1

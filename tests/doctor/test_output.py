"""How the doctor's findings are shown: a line each in a pipe, a table in a terminal, JSON for programs."""

import io
import json

import pytest
from rich.console import Console

from eightgig import doctor
from eightgig.cli import main
from eightgig.doctor import Advice, Diagnosis, Machine, table
from eightgig.doctor.disk import Disk
from eightgig.doctor.graphics import Graphics
from eightgig.doctor.host import Host
from eightgig.doctor.software import Software

MACHINE = Machine(
    graphics=Graphics(silence="NVML Shared Library Not Found"),
    host=Host(system="Linux", cores=2),
    software=Software(python="3.12.0"),
    disk=Disk(folder="data"),
)
FINE = Advice(code="DOC024", title="Python", status="ok", what_is="3.12.0", wanted="3.11 to 3.13")
SLOW = Advice(code="DOC022", title="disk", status="warning", what_is="a hard disk", wanted="an SSD", to_do="move")
BROKEN = Advice(code="DOC002", title="driver", status="problem", what_is="470", wanted="580", to_do="install 580")


def diagnosis(*advice: Advice) -> Diagnosis:
    return Diagnosis(machine=MACHINE, advice=advice, outlook="Runs use the CPU.")


def test_a_line_each():
    assert table.lines(diagnosis(BROKEN, SLOW, FINE)) == [
        "ok      DOC024 Python: 3.12.0; wanted: 3.11 to 3.13",
        "warning DOC022 disk: a hard disk; wanted: an SSD; to do: move",
        "PROBLEM DOC002 driver: 470; wanted: 580; to do: install 580",
        "1 problem (DOC002), 1 warning (DOC022). Each code is explained in docs/doctor.md.",
        "Runs use the CPU.",
    ]


def test_summary():
    assert table.summary(diagnosis(FINE)).startswith("No problems, no warnings.")
    assert table.summary(diagnosis(SLOW, SLOW)).startswith("2 warnings (DOC022, DOC022).")


def test_the_table_keeps_to_a_narrow_terminal():
    written = io.StringIO()
    Console(file=written, width=60, highlight=False).print(table.table(diagnosis(BROKEN, FINE)))
    shown = written.getvalue().splitlines()
    assert max(map(len, shown)) <= 60
    assert shown[0].split()[:4] == ["ok", "DOC024", "Python", "3.12.0"]
    assert shown[1].split()[:4] == ["PROBLEM", "DOC002", "driver", "470"]
    assert shown[2].strip() == "to do: install 580"
    assert "Runs use the CPU." in written.getvalue()


@pytest.mark.parametrize(("advice", "code"), [((FINE, SLOW), 0), ((BROKEN,), 1)])
def test_exit_code(monkeypatch, capsys, advice, code):
    monkeypatch.setattr(doctor, "diagnose", lambda **_: diagnosis(*advice))
    assert main(["doctor"]) == code
    assert capsys.readouterr().out.splitlines()[-1] == "Runs use the CPU."


def test_json(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "diagnose", lambda **_: diagnosis(SLOW))
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert Diagnosis.model_validate(found) == diagnosis(SLOW)
    assert found["machine"]["host"]["cores"] == 2


def test_every_code_has_its_row_in_the_docs(project_path):
    text = (project_path / "docs" / "doctor.md").read_text(encoding="utf-8")
    missing = [number for number in range(1, 25) if f"| DOC{number:03} |" not in text]
    assert missing == []

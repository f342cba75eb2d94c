"""Case studies by name, as the project's folder describes them (`conf/base/parameters_gpu_guide.yml`)."""

from pathlib import Path
from typing import Any, NamedTuple

from eightgig.vram.tracing.spec import WorkloadSpec

_FILE = Path("conf", "base", "parameters_gpu_guide.yml")
_PROJECT = Path(__file__).parents[3]


class CaseStudy(NamedTuple):
    """A case study's network, for a person and for the tracer."""

    title: str
    sample: str
    spec: WorkloadSpec


def case_study(name: str) -> CaseStudy | None:
    """Return a case study; None where there is none of that name, or no project's folder to read it from."""
    described = _described().get(name)
    if described is None:
        return None
    spec = WorkloadSpec(factory=described["factory"], options=described.get("options", {}))
    return CaseStudy(described["title"], described["sample"], spec)


def case_names() -> list[str]:
    """Return the names of all case studies that can be asked for here."""
    return list(_described())


def _described() -> dict[str, dict[str, Any]]:
    path = next((root / _FILE for root in (Path(), _PROJECT) if (root / _FILE).is_file()), None)
    if path is None:
        return {}
    import yaml

    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return dict(content["gpu_guide"]["compare"]["workloads"])

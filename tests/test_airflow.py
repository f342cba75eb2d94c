"""kedro-airflow turns a case study into a DAG that compiles, and has its nodes and their order."""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

CASE = "flower_classifier"


class Task:
    def __init__(self, name, edges):
        self.name, self.edges = name, edges

    def __rshift__(self, other):
        self.edges.add((self.name, other.name))


@pytest.fixture
def airflow(monkeypatch):
    """Stand-ins for Airflow's decorators, which note tasks and edges: Airflow itself is not installed."""
    names, edges, dags = [], set(), []

    def task(task_id):
        def decorate(function):
            names.append(task_id)
            return lambda: Task(task_id, edges)

        return decorate

    def dag(**options):
        def decorate(function):
            dags.append(options)
            return function

        return decorate

    sdk: Any = types.ModuleType("airflow.sdk")
    sdk.dag, sdk.task = dag, task
    monkeypatch.setitem(sys.modules, "airflow", types.ModuleType("airflow"))
    monkeypatch.setitem(sys.modules, "airflow.sdk", sdk)
    return names, edges, dags


def test_the_dag_of_a_case_study_compiles_and_keeps_its_order(project_path, tmp_path, airflow):
    kedro = str(Path(sys.executable).with_name("kedro"))
    command = [kedro, "airflow", "create", "-p", CASE, "-e", "base", "-t", str(tmp_path)]
    subprocess.run(command, cwd=project_path, check=True, capture_output=True, timeout=300)
    (made,) = tmp_path.glob("*.py")
    names, edges, dags = airflow
    exec(compile(made.read_text(encoding="utf-8"), str(made), "exec"), {"__name__": "dag"})  # noqa: S102

    from eightgig.pipelines.flower_classifier import create_pipeline

    pipeline = create_pipeline()

    def slug(node):
        return node.name.replace(".", "-").replace("_", "-")

    assert len(dags) == 1
    assert sorted(names) == sorted(slug(node) for node in pipeline.nodes)
    wanted = {(slug(parent), slug(node)) for node, parents in pipeline.node_dependencies.items() for parent in parents}
    assert edges == wanted

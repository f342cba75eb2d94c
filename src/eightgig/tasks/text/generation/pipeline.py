"""The text generator: GPT-2 on plain text, trained and run in 8 GB (article 2.2.2, 3.1.1)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, export, report, train
from eightgig.stages.task import case_pipeline
from eightgig.tasks.text.generation import generate, ingest, plan
from eightgig.tasks.text.generation.evaluate import RESULTS, evaluate
from eightgig.tasks.text.generation.report import GeneratorResults
from eightgig.tasks.text.generation.task import TextGenerator
from eightgig.tasks.text.task import dynamic_int8


def text_generator_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags generate`."""
    task = TextGenerator()
    return case_pipeline(
        name,
        [
            ingest.create_pipeline(),
            plan.create_pipeline(),
            train.create_pipeline(task),
            export.create_pipeline(task, compressed=dynamic_int8()),
            benchmark.create_pipeline(task, evaluate, RESULTS),
            generate.create_pipeline(task),
            report.create_pipeline(GeneratorResults(), compressed=False),
        ],
    )

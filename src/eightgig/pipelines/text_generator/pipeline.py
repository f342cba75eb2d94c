"""The text generator: GPT-2 on plain text, trained and run in 8 GB (article 2.2.2, 3.1.1)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.text_generator import generate, ingest, plan
from eightgig.pipelines.text_generator.evaluate import evaluation
from eightgig.pipelines.text_generator.nodes import TextGenerator
from eightgig.pipelines.text_generator.results import GeneratorResults
from eightgig.stages import benchmark, export, report, train
from eightgig.stages.case import case_pipeline
from eightgig.stages.text import dynamic_int8


def create_pipeline() -> Pipeline:
    """Give the whole case study; each stage runs alone by its tag, for example `--tags generate`."""
    case = TextGenerator()
    return case_pipeline(
        "text_generator",
        [
            ingest.create_pipeline(),
            plan.create_pipeline(),
            train.create_pipeline(case),
            export.create_pipeline(case, compressed=dynamic_int8()),
            benchmark.create_pipeline(case, evaluation(case)),
            generate.create_pipeline(case),
            report.create_pipeline(GeneratorResults(), compressed=False),
        ],
    )

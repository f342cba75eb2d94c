"""The semantic segmenter: U-Net on pictures with masks, and images of any size (article 2.1.2, 3.1.2)."""

from kedro.pipeline import Pipeline

from eightgig.pipelines.semantic_segmenter import ingest, predict, tiles
from eightgig.pipelines.semantic_segmenter.evaluate import evaluation
from eightgig.pipelines.semantic_segmenter.nodes import SemanticSegmenter
from eightgig.pipelines.semantic_segmenter.results import SegmentationResults
from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.case import case_pipeline


def create_pipeline() -> Pipeline:
    """Give the whole case study; each stage runs alone by its tag, for example `--tags tiles`."""
    case = SemanticSegmenter()
    return case_pipeline(
        "semantic_segmenter",
        [
            ingest.create_pipeline(),
            plan.create_pipeline(case),
            train.create_pipeline(case),
            compress.create_pipeline(case),
            export.create_pipeline(case),
            benchmark.create_pipeline(case, evaluation(case)),
            predict.create_pipeline(case),
            tiles.create_pipeline(case),
            report.create_pipeline(SegmentationResults()),
        ],
    )

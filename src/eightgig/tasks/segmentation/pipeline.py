"""The semantic segmenter: U-Net on images with masks, and images of any size (article 2.1.2, 3.1.2)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.case import case_pipeline
from eightgig.tasks.segmentation import ingest, predict, tiles
from eightgig.tasks.segmentation.case import SemanticSegmenter
from eightgig.tasks.segmentation.evaluate import evaluation
from eightgig.tasks.segmentation.report import SegmentationResults


def segmenter_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags tiles`."""
    case = SemanticSegmenter()
    return case_pipeline(
        name,
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

"""The semantic segmenter: U-Net on images with masks, and images of any size (article 2.1.2, 3.1.2)."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.ingest import image_ingest
from eightgig.stages.task import case_pipeline
from eightgig.tasks.segmentation import predict, tiles
from eightgig.tasks.segmentation.evaluate import RESULTS, evaluate
from eightgig.tasks.segmentation.ingest import MaskedImages
from eightgig.tasks.segmentation.report import SegmentationResults
from eightgig.tasks.segmentation.task import SemanticSegmenter


def segmenter_pipeline(name: str) -> Pipeline:
    """Return the whole case study under its name; each stage runs alone by its tag, for example `--tags tiles`."""
    task = SemanticSegmenter()
    return case_pipeline(
        name,
        [
            image_ingest(MaskedImages()),
            plan.create_pipeline(task),
            train.create_pipeline(task),
            compress.create_pipeline(task),
            export.create_pipeline(task),
            benchmark.create_pipeline(task, evaluate, RESULTS),
            predict.create_pipeline(task),
            tiles.create_pipeline(task),
            report.create_pipeline(SegmentationResults()),
        ],
    )

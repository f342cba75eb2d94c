"""All stages of a regression on images as one pipeline."""

from kedro.pipeline import Pipeline

from eightgig.stages import benchmark, compress, export, plan, report, train
from eightgig.stages.ingest import image_ingest
from eightgig.stages.task import case_pipeline
from eightgig.tasks.image_regression.evaluate import RESULTS, evaluate
from eightgig.tasks.image_regression.ingest import MeasuredImages
from eightgig.tasks.image_regression.report import RegressionResults
from eightgig.tasks.image_regression.task import ImageRegressor


def regression_pipeline(name: str) -> Pipeline:
    """Return the case study `name` from images with a number each to a page."""
    task = ImageRegressor()
    trained = [stage.create_pipeline(task) for stage in (plan, train, compress, export)]
    judged = [benchmark.create_pipeline(task, evaluate, RESULTS), report.create_pipeline(RegressionResults())]
    return case_pipeline(name, [image_ingest(MeasuredImages()), *trained, *judged])

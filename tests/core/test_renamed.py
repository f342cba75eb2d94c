"""Names that parameters once had are refused, with the names that they have now."""

from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
from pydantic import ValidationError

import eightgig
from eightgig.core.records import Record

RENAMED = [
    ("eightgig.training.parameters", "TrainParameters", "accumulation", "gradient_accumulation_steps"),
    ("eightgig.training.parameters", "TrainParameters", "max_gradient_norm", "max_grad_norm"),
    ("eightgig.training.distributed.parameters", "DistributedParameters", "processes", "nproc_per_node"),
    ("eightgig.training.distributed.parameters", "DistributedParameters", "rendezvous", "rdzv_endpoint"),
    ("eightgig.tasks.reinforcement.parameters", "PPOParameters", "max_gradient_norm", "max_grad_norm"),
    ("eightgig.vram.parameters", "PlanParameters", "checkpointing", "activation_checkpointing"),
    ("eightgig.export.int8.parameters", "QuantizeParameters", "judged_images", "eval_samples"),
    ("eightgig.stages.samples", "PredictParameters", "sheet_pictures", "sheet_images"),
    ("eightgig.tasks.detection.predict", "DetectorPredictParameters", "most", "max_detections"),
    ("eightgig.tasks.detection.video.parameters", "VideoParameters", "most", "max_detections"),
]


@pytest.mark.parametrize(("module", "record", "old", "new"), RENAMED)
def test_an_old_name_is_refused_with_the_new_one(module, record, old, new):
    with pytest.raises(ValidationError, match=rf"`{old}` is called `{new}` now"):
        getattr(import_module(module), record)(**{old: 1})


def test_every_renamed_field_names_one_that_there_is():
    for found in walk_packages([str(Path(eightgig.__file__).parent)], "eightgig."):
        if found.name.endswith(("parameters", "predict", "samples")):
            import_module(found.name)
    records = [Record]
    for one in records:
        records += one.__subclasses__()
        assert set(one.renamed.values()) <= set(one.model_fields), one
        assert not set(one.renamed) & set(one.model_fields), one

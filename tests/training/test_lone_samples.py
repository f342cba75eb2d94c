"""One sample by itself in a network with BatchNorm: it trains, counts like any other, and is told."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.conftest import PointObjective, Points
from torch import nn
from torch.utils.data import DataLoader

from eightgig.core.errors import TrainingError
from eightgig.core.lone_samples import LoneSamples
from eightgig.core.tracker import NoTracker
from eightgig.data.images.loader import KeyedSampler
from eightgig.training.parameters import TrainParameters
from eightgig.training.trainer import Trainer


def network(*, running=True):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16, track_running_stats=running), nn.Linear(16, 3))


def trained(plan, num, *, module=None, epochs=2, batch_size=None, val=4):
    """Return what training on so many points gives, and the points that each step had."""
    size = batch_size or plan.micro_batch * plan.gradient_accumulation_steps
    parameters = TrainParameters(epochs=epochs, batch_size=size, learning_rate=0.05, seed=0)
    loaders = [
        DataLoader(Points(number), batch_size=most, sampler=KeyedSampler(range(number), seed=0))
        for number, most in ((num, plan.micro_batch), (val, plan.eval_batch))
    ]
    steps = epochs * -(-num // plan.effective_batch)
    trainer = Trainer(
        module or network(), PointObjective(), plan=plan, parameters=parameters, steps=steps, tracker=NoTracker()
    )
    counts = []
    step = trainer.train_step.run

    def counted(batches, *, count):
        counts.append(sum(len(batch["labels"]) for batch in batches))
        return step(batches, count=count)

    trainer.train_step.run = counted  # type: ignore[assignment]  # the step names all arguments
    return trainer.fit(*loaders), counts


@pytest.mark.parametrize(
    ("num", "micro_batch", "gradient_accumulation_steps"),
    [
        (17, 8, 1),  # one left over
        (17, 4, 2),  # one left over in a window of its own
        (5, 1, 4),  # the planner's micro-batches of one
        (1, 8, 1),  # a training split of one
    ],
)
def test_a_lone_sample_trains_and_counts(make_memory_plan, num, micro_batch, gradient_accumulation_steps, caplog):
    plan = make_memory_plan(micro_batch=micro_batch, gradient_accumulation_steps=gradient_accumulation_steps)
    result, counts = trained(plan, num)
    assert sum(counts) == 2 * num
    assert [row.skipped_steps for row in result.history] == [0, 0]
    (finding,) = result.findings
    assert finding.code == "VRAM104"
    assert finding.message == (
        "a sample went through the network by itself: where it is one value a channel, BatchNorm takes its running "
        "statistics (1 layers: 1). The sample counts like any other; a train.batch_size that leaves none over avoids it"
    )
    assert caplog.text.count("VRAM104") == 1


@settings(max_examples=15, deadline=None)
@given(num=st.integers(1, 20), micro_batch=st.integers(1, 6), gradient_accumulation_steps=st.integers(1, 3))
def test_any_remainder_trains_with_every_sample(num, micro_batch, gradient_accumulation_steps):
    from tests.plans import make_plan

    plan = make_plan(model="test", sample="8 px", micro_batch=micro_batch, eval_batch=9,
                     gradient_accumulation_steps=gradient_accumulation_steps,
                     optimizer_kernel="foreach")  # fmt: skip
    result, counts = trained(plan, num, epochs=1)
    assert sum(counts) == num
    alone = micro_batch == 1 or num % micro_batch == 1
    assert [finding.code for finding in result.findings] == ["VRAM104"] * alone


def test_only_layers_of_one_value_a_channel_do_otherwise():
    module: Any = nn.Sequential(nn.BatchNorm2d(3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))
    with torch.no_grad():
        module[2].running_mean.fill_(2.0)
        module[2].running_var.fill_(4.0 - module[2].eps)
    lone, images = LoneSamples(module), torch.rand(1, 3, 4, 4)
    with lone.through(1):
        out = module(images)
    wide = nn.functional.batch_norm(images, None, None, training=True)
    torch.testing.assert_close(out, (wide.mean((2, 3), keepdim=True) - 2.0) / 2.0)
    assert lone.layers == ["2"]
    assert module[2].training
    assert int(module[2].num_batches_tracked) == 0
    assert int(module[0].num_batches_tracked) == 1
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        module(images)


def test_larger_batches_are_as_ever():
    module = network().train()
    points = torch.rand(4, 6)
    expected = module(points)
    with LoneSamples(module).through(4):
        torch.testing.assert_close(module(points), expected, rtol=0, atol=0)


def test_a_layer_without_running_statistics_is_told_with_the_way_out(make_memory_plan):
    with pytest.raises(TrainingError, match=r"cannot with one sample .*Take a train\.batch_size that leaves no sample"):
        trained(make_memory_plan(micro_batch=8), 9, module=network(running=False))


def test_the_planner_traces_a_micro_batch_of_one():
    from eightgig.models.parameters import ImageModelParameters
    from eightgig.tasks.classification.task import ImageClassifier
    from eightgig.training.parameters import ClassifierTrainParameters
    from eightgig.vram.tracing.options import StepOptions
    from eightgig.vram.tracing.predictor import Predictor

    model = ImageModelParameters(name="resnet18", image_size=32, weights="none")
    workload = ImageClassifier().workload(model, 2, ClassifierTrainParameters(batch_size=1))
    with Predictor() as predictor:
        assert predictor.trace(workload, StepOptions(micro_batch=1)).has_batch_norm


def test_measuring_batch_norm_passes_over_a_lone_sample():
    from eightgig.models.pruning import measure_batch_norm

    module, points = network(), torch.rand(5, 6)
    measure_batch_norm(module, [points[:4], points[4:]])
    torch.testing.assert_close(module[1].running_mean, module[0](points[:4]).mean(0).detach())
    kept = module[1].running_mean.clone()
    measure_batch_norm(module, [points[:1], points[4:]])
    torch.testing.assert_close(module[1].running_mean, kept, rtol=0, atol=0)

"""Each kind of network that ended badly once: it is predicted, or ends in one line that says where and what to do."""

import pytest

from eightgig.core.errors import ConfigurationError, PredictionError
from eightgig.vram.tracing.options import StepOptions
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.spec import WorkloadSpec

pytestmark = pytest.mark.usefixtures("tiny_workloads")

READS = r"A value of a tensor is read here, or decides a shape .* torch\.where instead of a boolean mask"


@pytest.fixture(scope="module")
def predictor(tiny_workloads):
    with Predictor() as shared:
        yield shared


def spec(name):
    return WorkloadSpec(factory=f"ending_workloads:{name}")


@pytest.mark.parametrize(
    ("name", "line", "remedy"),
    [
        ("asks_any", r"in loss: `if \(made > 0\)\.any\(\):`", READS),
        ("masks", r"in <lambda>: `.*net\(b\)\[b > 0\]\.sum\(\).*`", READS),
        ("nonzero", r"in <lambda>: `.*nonzero\(\).*`", READS),
        ("nms", r"in <lambda>: `.*suppress\(b, b\[:, 0\], 0\.5\).*`", READS),
        ("packed_sequence", r"in loss: `packed = pack_padded_sequence.*`", READS),
        ("packed_sequence_of_lengths", r"in loss: `return net\(pack_padded_sequence.*`", READS),
        ("sparse_embedding", r"in _sum: `return net\(b\)\.float\(\)\.sum\(\)`", r"Predict it with sparse=False"),
        ("mixtral", r"in <lambda>: `.*input_ids=b, labels=b.*`", r"predict with weights='bf16', as it trains"),
        (
            "custom_op_without_fake",
            r"in <lambda>: `.*without_fake.*`",
            r"fake kernel \(torch\.library\.register_fake\)",
        ),
    ],
)
def test_what_cannot_be_traced_says_where_and_the_way_out(predictor, name, line, remedy):
    where = rf"ending_workloads:{name} cannot be traced .*ending_workloads\.py, line \d+, {line}: .*{remedy}"
    with pytest.raises(PredictionError, match=where) as caught:
        predictor.trace(spec(name), StepOptions(micro_batch=4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("loss_in_a_tuple", "the loss gave tuple; expected one number to train on"),
        ("compiled", "the network is compiled .*torch.compile.*, and compiled training is not predicted: give it with"),
        ("compiled_in_place", "the network is compiled"),
        ("compiled_part", "1 is compiled"),
    ],
)
def test_what_is_not_predicted_is_refused(predictor, name, said):
    with pytest.raises(ConfigurationError, match=said):
        predictor.trace(spec(name), StepOptions(micro_batch=4))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("grouped_matmul", {}),
        ("mixtral", {"weights": "bf16"}),
        ("batch_norm", {"micro_batch": 1}),
        *((name, {"precision": "bf16"}) for name in ("half_log_softmax", "half_softmax", "half_weights_log_softmax")),
    ],
)
def test_what_is_predicted_as_it_is(predictor, name, options):
    made = predictor.predict(spec(name), StepOptions(**{"micro_batch": 4, **options}))
    assert made.peak_allocated > 0
    assert made.predicted_as == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gru", "GRU: predicted as torch's own cells"),
        ("lstm", "LSTM: predicted as torch's own cells"),
        ("rnn", "RNN: predicted as torch's own cells"),
        (
            "compiled_function",
            "torch.compile: what is compiled outside of the network's modules is predicted as it runs",
        ),
        ("custom_op", "ending::with_fake: counted by its results alone"),
    ],
)
def test_what_is_predicted_as_something_else_is_said(predictor, name, said):
    (found,) = predictor.predict(spec(name), StepOptions(micro_batch=4)).predicted_as
    assert found.startswith(said)


def test_a_gru_keeps_five_values_a_step_and_hidden_one(predictor):
    trace = predictor.trace(spec("gru"), StepOptions(micro_batch=4))
    kept = [size for block, size in trace.events if size and "_thnn_fused_gru_cell" in trace.owners[block]]
    assert kept.count(4 * 5 * 16 * 4) == 3 * 5  # of a batch of 4, 16 wide, in float32; 5 steps in 3 passes


def test_bfloat16_is_copied_to_float32_before_a_softmax_and_float16_is_not(predictor):
    def before(precision):
        trace = predictor.trace(spec("half_scores"), StepOptions(micro_batch=4, precision=precision))
        names = [cost.name for cost in trace.costs]
        return names[names.index("_softmax") - 1]

    assert before("bf16") == "_to_copy"
    assert before("fp16") == "addmm"


def test_a_custom_ops_results_are_counted(predictor):
    trace = predictor.trace(spec("custom_op"), StepOptions(micro_batch=4))
    assert "ending::with_fake" in {owner.split("/")[-1] for owner in trace.owners.values()}

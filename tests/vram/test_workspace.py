"""Workspace memory by hand arithmetic, and the file of its constants."""

import json

import pytest

from eightgig.core.errors import ConfigurationError
from eightgig.vram.allocator.events import AllocationTrace, Event, Mark, WorkspaceUse
from eightgig.vram.allocator.kernels import AttentionKernel, ConvolutionKernel, CublasHandle
from eightgig.vram.tracing.workspace import PACKAGED, WorkspaceMemory, load_calibration, with_workspace

KIB = 1024


def constants(**values):
    ampere = load_calibration().of("ampere")
    return ampere.model_copy(
        update={name: getattr(ampere, name).model_copy(update={"value": value}) for name, value in values.items()}
    )


def trace_of(kernel):
    """A trace of one block, and a kernel after the block is made and before it is freed."""
    return AllocationTrace(
        events=(Event(0, 100), Event(0, 0)),
        categories={0: "temporaries"},
        owners={0: "op"},
        marks=(Mark(0, "forward"), Mark(1, "backward")),
        workspaces=(WorkspaceUse(1, kernel),),
    )


def sizes_of(trace, workspace):
    made = with_workspace(trace, workspace)
    assert made.events[0] == Event(0, 100)
    assert made.workspaces == ()
    return [event.num_bytes for event in made.events[1:-1] if event.num_bytes]


def convolution(kind, *, groups=1, kernel_size=3, channels_per_group=64, channels_last=False):
    return ConvolutionKernel(
        kind=kind,
        input_bytes=1000,
        output_bytes=500,
        weight_bytes=30,
        element_bytes=4,
        groups=groups,
        kernel_size=kernel_size,
        channels_per_group=channels_per_group,
        channels_last=channels_last,
        transposed=False,
    )


def attention(kind, element_bytes):
    return AttentionKernel(kind=kind, batch=2, heads=4, tokens=130, head_dim=40, element_bytes=element_bytes)


def test_a_cublas_workspace_stays():
    made = with_workspace(trace_of(CublasHandle()), constants(cublas_workspace_bytes=8_519_680))
    assert made.events == (Event(0, 100), Event(1, 8_519_680), Event(0, 0))
    assert (made.categories[1], made.owners[1]) == ("workspace", "cublas")
    assert [mark.position for mark in made.marks] == [0, 2]  # phases begin where they began


def test_other_workspaces_are_gone_after_their_op():
    made = with_workspace(trace_of(convolution("convolution")), constants(conv_forward_staging=1))
    assert made.events == (Event(0, 100), Event(1, 1500), Event(1, 0), Event(0, 0))


def test_only_the_workspaces_of_convolutions_can_be_done_without():
    workspace = constants(conv_forward_staging=1)
    assert with_workspace(trace_of(convolution("convolution")), workspace).dispensable == {1}
    assert with_workspace(trace_of(CublasHandle()), workspace).dispensable == frozenset()
    assert with_workspace(trace_of(attention("flash_attention_backward", 2)), workspace).dispensable == frozenset()


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (convolution("convolution"), [3000]),
        (convolution("convolution_backward"), [4500]),
        (convolution("convolution", kernel_size=1), []),
        (convolution("convolution_backward", kernel_size=1), [750]),
        (convolution("convolution", groups=4), []),
        (convolution("convolution_backward", groups=4), [1500]),
        (convolution("convolution_backward", groups=32, channels_per_group=4), []),  # narrow groups
        (convolution("convolution_backward", groups=64, channels_per_group=1), []),  # depthwise
        (convolution("convolution", channels_per_group=3), []),  # a first layer's colours
        (convolution("convolution_backward", channels_per_group=3), []),
        (convolution("convolution", channels_per_group=16), [3000]),
        (convolution("convolution", channels_last=True), []),
        (convolution("convolution_backward", channels_last=True), []),
    ],
)
def test_staging_of_convolutions(kernel, expected):
    workspace = constants(
        conv_forward_staging=2, conv_backward_staging=3, conv_pointwise_staging=0.5, conv_grouped_staging=1
    )
    assert sizes_of(trace_of(kernel), workspace) == expected


def test_attention_adds_up_the_querys_gradient_in_float32():
    # 2 x 4 heads x 130 x 40 in half precision: length in blocks of 128, width of 32; and one float a row.
    trace = trace_of(attention("flash_attention_backward", 2))
    assert sizes_of(trace, constants()) == [4 * 2 * 4 * 256 * 64, 4 * 2 * 4 * 130]
    assert sizes_of(trace, constants(attention_backward_accumulator=0)) == [4 * 2 * 4 * 130]


def test_both_workspaces_of_attention_are_held_together():
    made = with_workspace(trace_of(attention("flash_attention_backward", 2)), constants())
    assert [bool(event.num_bytes) for event in made.events] == [True, True, True, False, False, False]


def test_attention_in_float32_needs_no_accumulator():
    assert sizes_of(trace_of(attention("efficient_attention_backward", 4)), constants()) == [4 * 2 * 4 * 130]


def test_the_cpu_hides_nothing_in_libraries():
    workspace = load_calibration().of("none")
    assert sizes_of(trace_of(CublasHandle()), workspace) == []
    assert sizes_of(trace_of(convolution("convolution")), workspace) == []
    assert workspace.context_bytes.value == 0


def test_every_constant_has_a_source():
    for workspace in load_calibration().generations.values():
        assert all(len(getattr(workspace, name).source) > 20 for name in WorkspaceMemory.model_fields)


def test_an_unknown_generation_is_named():
    with pytest.raises(ConfigurationError, match="GPU generation 'volta': there are turing, ampere, ada"):
        load_calibration().of("volta")


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"generations": {"ampere": {}}}', "\x00", "[" * 9_999])
def test_a_damaged_file_is_refused_with_a_way_out(tmp_path, content):
    path = tmp_path / "calibration.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"(?s)calibration.json cannot be used: .*make calibrate"):
        load_calibration(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be used"):
        load_calibration(tmp_path / "none.json")


def test_a_file_of_ones_own_counts(tmp_path):
    content = json.loads(PACKAGED.read_text(encoding="utf-8"))
    content["generations"]["ampere"]["context_bytes"]["value"] = 123 * KIB
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert load_calibration(path).of("ampere").context_bytes.value == 123 * KIB

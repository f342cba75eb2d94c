import pandas as pd
import pytest

from eightgig.report.memory import CATEGORY_STYLES, memory_against_budget, memory_over_step
from eightgig.vram.plan import PhaseMemory

CLEAR = "rgba(0,0,0,0)"
STEP = [  # done, phase, weights, activations, gradients
    (0.1, "forward", 1.0, 0.0, 0.0),
    (0.4, "forward", 1.0, 4.0, 0.0),
    (0.6, "backward", 1.0, 2.0, 0.5),
    (0.9, "backward", 1.0, 0.001, 1.0),
    (0.96, "optimizer", 1.0, 0.0, 1.0),
    (1.0, "release", 1.0, 0.0, 0.0),
]


@pytest.fixture
def step() -> pd.DataFrame:
    table = pd.DataFrame(STEP, columns=["done", "phase", "parameters", "activations", "gradients"])
    return table.assign(workspace=0.0, batch=0.004)


@pytest.fixture
def parts() -> pd.DataFrame:
    rows = [
        ("train", "parameters", 1.0, "predicted"),
        ("train", "activations", 4.0, "predicted"),
        ("validate", "parameters", 0.05, "predicted"),
        ("train", "tensors on the GPU", 5.1, "measured"),
    ]
    return pd.DataFrame(rows, columns=["phase", "part", "gib", "kind"])


def words(figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


def lines(figure, **at) -> list:
    return [s for s in figure.layout.shapes if s.type == "line" and all(s[key] == value for key, value in at.items())]


def test_the_figures_know_every_category_of_a_plan():
    assert set(CATEGORY_STYLES) == set(PhaseMemory(phase="train", device="cpu").parts)
    assert len({colour for _, colour in CATEGORY_STYLES.values()}) == len(CATEGORY_STYLES)


def test_a_step_is_stacked_by_category_and_empty_layers_are_left_out(step):
    layers = [trace for trace in memory_over_step(step, 8.0).data if trace.stackgroup]
    assert [layer.name for layer in layers] == ["weights", "gradients", "input batch", "activations"]
    assert list(layers[3].y) == [0.0, 4.0, 2.0, 0.001, 0.0, 0.0]


def test_layers_too_thin_to_see_are_drawn_and_not_named(step):
    named = {trace.name: trace.showlegend for trace in memory_over_step(step, 8.0).data}
    assert named["input batch"] is False
    assert named["activations"] is True


def test_phases_are_parted_and_named_where_there_is_room(step):
    figure = memory_over_step(step, 8.0)
    assert [text for text in words(figure) if text in {"forward", "backward", "optimizer", "release"}] == [
        "forward",
        "backward",
        "optimizer",
    ]
    assert [line.x0 for line in lines(figure, y0=0, y1=1)] == [0.4, 0.9, 0.96, 1.0]
    bands = [shape for shape in figure.layout.shapes if shape.type == "rect"]
    assert [(band.x0, band.x1) for band in bands] == [(0, 0.4), (0.9, 0.96)]


def test_the_peak_and_the_budget_are_marked_and_told(step):
    figure = memory_over_step(step, 8.0)
    assert "<b>predicted peak 5.00 GiB</b>" in words(figure)
    assert "<b>budget 8.00 GiB</b>" in words(figure)
    (mark,) = [trace for trace in figure.data if trace.mode == "markers"]
    assert (mark.x[0], mark.y[0]) == (0.4, pytest.approx(5.004))
    assert len(lines(figure, y0=8.0, y1=8.0)) == 1
    assert figure.layout.yaxis.range[1] > 8.0
    assert figure.layout.paper_bgcolor == CLEAR


def test_a_measured_peak_stands_beside_the_predicted_one(step):
    figure = memory_over_step(step, 8.0, measured_gib=5.2)
    assert "<b>measured peak 5.20 GiB</b>" in words(figure)
    (line,) = lines(figure, y0=5.2)
    assert (line.x0, line.x1) == (0.4, 1)
    assert not [text for text in words(memory_over_step(step, 8.0)) if "measured" in text]


def test_words_go_below_the_peak_where_the_budget_is_close(step):
    def anchor(budget_gib: float) -> str:
        notes = memory_over_step(step, budget_gib).layout.annotations
        return next(note.yanchor for note in notes if "predicted" in note.text)

    assert (anchor(5.2), anchor(8.0)) == ("top", "bottom")


def test_a_peak_over_the_budget_is_inside_the_plot(step):
    assert memory_over_step(step, 4.0).layout.yaxis.range[1] > 5.0


def test_a_far_budget_is_told_and_does_not_flatten_the_step(step):
    figure = memory_over_step(step, 24.0)
    assert "↑ <b>budget 24.00 GiB</b>, beyond this scale" in words(figure)
    assert not lines(figure, y0=24.0)
    assert figure.layout.yaxis.range[1] < 8.0


def test_a_plan_without_a_timeline_is_still_a_figure(step):
    assert words(memory_over_step(step.head(0), 8.0)) == ["<b>budget 8.00 GiB</b>"]


def test_phases_have_the_predicted_above_the_measured(parts):
    figure = memory_against_budget(parts, 8.0)
    assert [trace.name for trace in figure.data] == ["weights", "activations", "measured: tensors on<br>the GPU"]
    assert [trace.offsetgroup for trace in figure.data] == ["predicted", "predicted", "measured"]
    assert figure.layout.barmode == "stack"
    assert figure.layout.yaxis.autorange == "reversed"


def test_the_sums_of_a_phase_stand_beside_its_bars(parts):
    train, validate = memory_against_budget(parts, 8.0).data[0].y
    assert train == "<b>train</b><br>predicted 5.00<br>measured 5.10"
    assert validate == "<b>validate</b><br>predicted 0.050"


def test_the_budget_stands_upright_over_all_phases(parts):
    (line,) = memory_against_budget(parts, 8.0).layout.shapes
    assert line.x0 == line.x1 == 8.0
    far = memory_against_budget(parts, 80.0)
    assert not far.layout.shapes
    assert words(far) == ["→ <b>budget 80.00 GiB</b>, beyond this scale"]


def test_two_ways_of_measuring_look_different(parts):
    parts.loc[len(parts)] = ("export", "growth of the process", 0.9, "measured")
    shapes = [
        trace.marker.pattern.shape for trace in memory_against_budget(parts, 8.0).data if "measured" in trace.name
    ]
    assert shapes == ["/", "."]

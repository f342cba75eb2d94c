import math

import pandas as pd
import pytest

from eightgig.report import figures

CLEAR = "rgba(0,0,0,0)"


@pytest.fixture
def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "train_loss": [2.0, 1.0, 0.5],
            "val_loss": [2.1, float("nan"), 0.7],
            "val_score": [0.3, 0.6, 0.8],
            "learning_rate": [1e-3, 5e-4, 0.0],
            "gradient_norm": [3.0, 2.0, 1.0],
            "seconds": [9.0, 9.1, 9.2],
            "samples_per_second": [40.0, 41.0, 42.0],
        }
    )


def names(figure) -> list[str]:
    return [trace.name for trace in figure.data]


def test_curves_show_every_column_over_the_epochs(history):
    figure = figures.training_curves(history, "accuracy")
    assert names(figure) == [
        "training",
        "validation",
        "validation accuracy",
        "learning rate",
        "gradient norm",
        "samples a second",
        "seconds",
    ]
    assert list(figure.data[0].y) == [2.0, 1.0, 0.5]
    assert math.isnan(figure.data[1].y[1])  # a gap, not a zero
    assert figure.layout.paper_bgcolor == CLEAR


def test_curves_leave_out_panels_without_data(history):
    figure = figures.training_curves(history.drop(columns=["gradient_norm"]).assign(seconds=float("nan")), "accuracy")
    assert [note.text for note in figure.layout.annotations] == [
        "Loss",
        "Validation accuracy",
        "Learning rate",
        "Samples a second",
    ]


def test_confusion_shades_by_share_and_leaves_empty_rows_empty():
    matrix = pd.DataFrame([[3, 1], [0, 0]], index=["a", "b"], columns=["a", "b"])
    (heat,) = figures.confusion(matrix).data
    assert list(heat.z[0]) == [0.75, 0.25]
    assert all(math.isnan(share) for share in heat.z[1])
    assert [list(row) for row in heat.text] == [[3, 1], ["", ""]]


def test_a_large_confusion_matrix_has_no_numbers_in_its_cells():
    classes = [f"class {index}" for index in range(102)]
    figure = figures.confusion(pd.DataFrame(1, index=classes, columns=classes))
    assert figure.data[0].texttemplate is None
    assert figure.layout.height <= 900


def test_classes_are_sorted_with_the_weakest_first():
    table = pd.DataFrame(
        {"class": ["a", "b"], "precision": [0.9, 0.6], "recall": [0.8, 0.7], "f1": [0.85, 0.65], "support": [10, 12]}
    )
    figure = figures.per_class(table)
    assert names(figure)[1:] == ["precision", "recall", "f1"]
    assert list(figure.data[1].y) == ["b (12)", "a (10)"]


def test_balance_stacks_the_splits_of_each_class():
    splits = pd.DataFrame(
        [("a", "train", 7), ("b", "train", 6), ("a", "test", 3), ("b", "test", 4)],
        columns=["class", "split", "num_images"],
    )
    figure = figures.class_balance(splits)
    assert names(figure) == ["train", "test"]
    assert list(figure.data[1].x) == [3, 4]
    assert figure.layout.barmode == "stack"

import subprocess
import sys

import pytest
from pydantic import ValidationError

from eightgig.data.images.parameters import AugmentParameters, DataParameters


def test_a_root_means_a_folder() -> None:
    assert DataParameters(root="/photos").source == "folder"
    assert DataParameters(source="rendered", root="/photos").source == "folder"
    assert DataParameters(source="oxford102", root="/photos").source == "oxford102"
    assert DataParameters().source == "rendered"


def test_a_folder_without_a_root_says_what_to_set() -> None:
    with pytest.raises(ValidationError, match=r"source 'folder' needs a root\. Set data\.root to the folder"):
        DataParameters(source="folder")


def test_fractions_must_leave_something_to_train_on() -> None:
    with pytest.raises(ValidationError, match=r"Keep their sum below 0.9"):
        DataParameters(val_fraction=0.5, test_fraction=0.45)
    with pytest.raises(ValidationError, match=r"(?s)val_fraction\n  Input should be greater than 0"):
        DataParameters(val_fraction=0.0)


def test_ranges_of_crops_must_rise() -> None:
    with pytest.raises(ValidationError, match="crop_scale"):
        AugmentParameters(crop_scale=(0.5, 0.2))
    with pytest.raises(ValidationError, match="crop_ratio"):
        AugmentParameters(crop_ratio=(1.5, 0.5))


def test_parameters_import_nothing_heavy() -> None:
    code = "import sys, eightgig.data.images.parameters; print({'torch', 'h5py', 'cv2'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert output.strip() == "set()"

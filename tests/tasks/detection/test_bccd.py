"""Real annotated images, where they lie beside the project: every box is kept or listed."""

import pytest


@pytest.fixture
def bccd(project_path):
    folder = project_path.parent / "shared" / "data" / "bccd"
    if not folder.is_dir():
        pytest.skip("no real annotated images beside the project (../shared/data/bccd)")
    return folder


def test_every_box_of_real_images_is_kept_or_listed(bccd, ingest):
    manifest, boxes, rejects, folder = ingest(bccd)
    assert folder.source == "voc"
    assert folder.classes == ("Platelets", "RBC", "WBC")
    assert len(manifest) == 205
    counts = boxes["class_name"].value_counts()
    left_out = rejects[rejects["action"] == "box left out"]["class_name"].value_counts()
    assert {name: counts[name] + left_out.get(name, 0) for name in counts.index} == {
        "RBC": 2382,
        "WBC": 214,
        "Platelets": 209,
    }
    assert boxes[["x2", "y2"]].to_numpy().max() <= 640

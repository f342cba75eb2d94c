"""Where each line of the checklist on security is tested; the table is checked, so that it stays true.

The checklist is in the notes on reliability. Tests of this folder are named without a path.
"""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
CHECKLIST = {
    "torch.load always with an explicit weights_only=True": (
        "test_source_lint.py::test_the_source_keeps_the_rule",
        "test_nothing_is_run.py::test_nor_where_the_environment_switches_the_default_off",
        "test_nothing_is_run.py::test_a_training_checkpoint_runs_nothing",
        "models/test_weights.py::test_a_pickled_object_is_refused_and_not_run",
    ),
    "a foreign yolov5s.pt is read through an inert unpickler; a canary does not run": (
        "tasks/detection/test_yolov5_checkpoint.py::test_nothing_in_the_file_is_run",
        "tasks/detection/test_yolov5_checkpoint.py::test_a_pickle_that_asks_for_gigabytes_is_refused",
    ),
    "a CUDA memory snapshot is a pickle of plain data": (
        "vram/test_snapshot.py::test_a_file_that_refers_to_code_is_refused_and_nothing_runs",
    ),
    "no pickle datasets in the catalog": ("test_configuration.py::test_no_dataset_is_a_pickle",),
    "MLflow loads no pickles": ("test_configuration.py::test_mlflow_loads_no_pickles",),
    "foreign HDF5: hard links only, no external or virtual storage, declared size within a ratio of the file's": (
        "data/store/test_hdf5_store.py::test_storage_outside_the_file_is_refused",
        "test_hostile_stores.py::test_no_dataset_leads_out_of_its_file_or_is_larger",
        "test_hostile_stores.py::test_texts_of_any_length_are_refused_unread",
    ),
    "archives: the filter for data, caps on count and bytes, never torchvision's extract_archive": (
        "test_source_lint.py::test_the_source_keeps_the_rule",
        "test_nothing_is_run.py::test_an_archive_does_not_reach_out_of_its_folder",
        "test_nothing_is_run.py::test_an_archive_of_too_much_is_refused_before_it_is_unpacked",
    ),
    "ONNX: self-contained, loaded from bytes; the providers in use are asserted": (
        "test_source_lint.py::test_the_source_keeps_the_rule",
        "export/test_onnx.py::test_a_file_with_weights_elsewhere_is_refused",
        "test_self_contained_networks.py::test_weights_elsewhere_are_refused_at_any_depth",
        "export/test_runners.py::test_a_silent_fall_back_is_refused",
    ),
    "engines: built locally, bound to a manifest": (
        "export/test_tensorrt_manifest.py::test_every_edited_field_breaks_the_seal",
        "export/test_tensorrt_manifest.py::test_an_engine_for_something_else_is_refused",
        "export/test_tensorrt_manifest.py::test_a_refused_engine_is_built_again_and_never_ends_a_run",
    ),
    "transformers: trust_remote_code off, the revision passed on, safetensors only": (
        "test_source_lint.py::test_the_source_keeps_the_rule",
        "tasks/text/test_model.py::test_pickled_weights_are_not_read",
        "tasks/text/test_model.py::test_code_of_a_checkpoint_is_not_run",
        "test_nothing_is_run.py::test_code_beside_a_configuration_is_not_run_nor_asked_about",
    ),
    "MLflow bound to 127.0.0.1, sqlite": (
        "test_configuration.py::test_runs_are_tracked_in_a_file_of_this_machine",
        "test_configuration.py::test_no_document_opens_mlflow_to_the_network",
    ),
    "camera or video: an allow-list of schemes": (
        "tasks/detection/video/test_source.py::test_addresses_are_refused_unless_their_kind_is_allowed",
        "tasks/detection/video/test_source.py::test_an_allowed_address_is_opened_as_it_is",
        "test_playlists.py::test_a_playlist_reaches_for_nobody",
    ),
    "images: named formats only, sizes refused by the header": (
        "test_source_lint.py::test_the_source_keeps_the_rule",
        "test_nothing_is_run.py::test_a_drawing_is_no_mask",
        "test_nothing_is_run.py::test_drawings_and_tables_are_no_images",
        "data/images/test_webp.py::test_a_huge_one_is_refused_before_a_decoder_makes_room",
    ),
    "floors of versions": ("test_configuration.py::test_versions_with_known_holes_are_not_allowed",),
    "no code and no weights of YOLOv5": (
        "test_source_lint.py::test_the_source_keeps_the_rule",
        "test_configuration.py::test_the_lock_holds_no_foreign_network_code",
        "test_configuration.py::test_no_weights_are_shipped",
    ),
    "every reader of foreign files: nothing but the project's own errors": (
        "fuzz/test_readers.py::test_hostile_files_are_read_or_refused",
    ),
}


@pytest.mark.parametrize("test", sorted({test for tests in CHECKLIST.values() for test in tests}))
def test_what_the_table_names_is_there(test):
    path, _, name = test.partition("::")
    file = TESTS / path if "/" in path else Path(__file__).with_name(path)
    assert name in {node.name for node in ast.parse(file.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}

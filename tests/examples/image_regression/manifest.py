"""The table of numbers, and the list of images that are used (manifest) or refused (rejects)."""

import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from eightgig.core.errors import DataError
from eightgig.core.progress import Report
from eightgig.data.ingest.findings import Finding, findings_table
from eightgig.data.ingest.manifest import inspect_images
from eightgig.data.ingest.splits import contradicting
from eightgig.data.ingest.walking import files_below, is_image
from eightgig.tasks.image_regression.parameters import RegressionDataParameters

_COLUMNS = ("path", "label", "class_name", "value", "codec", "width", "height", "byte_count", "content_hash", "note")


class Row(NamedTuple):
    """An image with its number; what the number is of is the only class."""

    path: str
    value: float
    class_name: str
    label: int = 0


def build_manifest(
    root: Path, data: RegressionDataParameters, report: Report, journal: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (manifest, rejects): a row a usable image, and one for all else with its reason."""
    rows, findings = _rows(root, data.table)
    manifest, found = inspect_images(root, rows, _COLUMNS, data, journal=journal, report=report)
    is_odd = contradicting(manifest, "value").astype(bool)
    findings += [Finding(path, "conflicting_value", "a copy has another number") for path in manifest["path"][is_odd]]
    rejects = findings_table([*findings, *found], ("path", "reason", "detail", "action"))
    return manifest[~is_odd].reset_index(drop=True), rejects.sort_values("path", ignore_index=True)


def _rows(root: Path, name: str) -> tuple[list[Row], list[Finding]]:
    try:
        table = pd.read_csv(root / name, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{root / name}: wanted a table of CSV, found none ({error}). Set data.table.") from error
    if len(table.columns) != 2 or table.columns[0] != "image":
        raise DataError(f"{root / name}: wanted the columns `image` and a number's name, found {list(table.columns)}.")
    found = {path.relative_to(root).as_posix() for path in files_below(root) if is_image(path)}
    findings = [Finding(path, "no_row", f"{name} has no row of it", "left out") for path in found - {*table["image"]}]
    values, rows = pd.to_numeric(table.iloc[:, 1], errors="coerce"), list[Row]()
    for line, (path, text, value) in enumerate(zip(table["image"], table.iloc[:, 1], values, strict=True), start=2):
        if path not in found:
            findings.append(Finding(path, "missing", f"{name}, line {line}: there is no such image"))
        elif not math.isfinite(value):
            findings.append(Finding(path, "no_number", f"{name}, line {line}: wanted a number, found '{text}'"))
        else:
            rows.append(Row(path, value, str(table.columns[1])))
    return rows, findings

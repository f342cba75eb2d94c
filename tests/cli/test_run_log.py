"""The log that each run keeps, and what of it a person reads in the terminal."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.present import present

from eightgig.cli.run_log import RunLog

ADDRESS = "https://example.org/" + "a/long/way/" * 10 + "page?shown=yes"
ROOT = Path(__file__).parents[2]
SPEAKS = """
import logging, logging.config, warnings, yaml
from eightgig.cli.run_log import RunLog, write_whole_lines
logging.config.dictConfig(yaml.safe_load(open({config!r})))
logging.getLogger("kedro.framework.project").info("which configuration is used")
write_whole_lines()
with RunLog(__import__("pathlib").Path({folder!r})):
    logging.getLogger("eightgig.x").info("told (0, 1) " + "word " * 30 + {address!r})
    warnings.warn("an old name", FutureWarning)
"""


def test_the_terminal_has_whole_lines_without_warnings_and_the_log_has_all(tmp_path):
    code = SPEAKS.format(address=ADDRESS, config=str(ROOT / "conf" / "logging.yml"), folder=str(tmp_path / "logs"))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    (line,) = done.stdout.splitlines()
    assert re.fullmatch(rf"\d\d:\d\d:\d\d INFO     told \(0, 1\) (word ){{30}}{re.escape(ADDRESS)}", line)
    assert "old name" not in done.stdout + done.stderr
    (log,) = (tmp_path / "logs").iterdir()
    text = log.read_text(encoding="utf-8")
    assert "told (0, 1)" in text
    assert "an old name" in text


def test_an_error_is_added_with_its_traceback_and_old_logs_go(tmp_path):
    for number in range(25):
        with RunLog(tmp_path / "logs") as log:
            try:
                raise ValueError(f"number {number}")
            except ValueError as error:
                log.add(error)
    assert len(list((tmp_path / "logs").iterdir())) == 20
    text = present(log.path).read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "number 24" in text


def test_what_is_logged_after_the_run_is_not_in_its_log(tmp_path):
    with RunLog(tmp_path) as log:
        pass
    logging.getLogger("eightgig").error("later")
    assert "later" not in present(log.path).read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    with RunLog(tmp_path / "file" / "logs") as log:
        log.add(ValueError("x"))
    assert log.path is None

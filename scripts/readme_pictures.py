"""The three pictures of the README, from finished runs: `make pictures`.

    kedro run --pipeline flower_classifier
    kedro run --pipeline gpu_guide
    make pictures DATA=data

The page and the guide's table are those of the runs in the data folder. The memory over one step is planned here, for
GPT-2 medium on an RTX 3070, without either. Chromium takes the pictures.
"""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import plotly.io
from levers import CARD, RECIPES, TOKENS, planned
from PIL import Image, ImageChops

from eightgig.report.html import render_page
from eightgig.report.memory import memory_over_step
from eightgig.report.page import Chart, Page, Section
from eightgig.report.sections.memory import timeline_table
from eightgig.vram.tracing.predictor import Predictor

OUT = Path(__file__).resolve().parents[1] / "docs" / "images"
_WIDTH_PX = 1120  # of the window: the page's own widest column, and its margins
_SCALE = 1.4  # sharp where a README is shown 830 px wide, and still small as a file
_COLOURS = 256  # of the palette: a screenshot has few, and a file of 24 bits takes three times as much
_MARGIN_PX = 28
# Of a page with one figure alone: what is there for many sections.
_FIGURE_ALONE = "nav, .switch, footer, h2 { display: none } .top { padding-top: 26px } section { padding-top: 0 }"


def main() -> None:
    """Take all three pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="of finished runs (%(default)s)")
    parser.add_argument("--only", action="append", choices=_PICTURES, help="one picture; may be given several times")
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome") or "chromium")
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    for name in options.only or _PICTURES:
        html, height_px = _PICTURES[name]
        _take(html(options.data / "08_reporting"), height_px, OUT / f"{name}.png", browser=options.browser)


def _page(reports: Path) -> str:
    return (reports / "flower_classifier" / "report.html").read_text(encoding="utf-8")


def _memory_page(_reports: Path) -> str:
    with Predictor() as predictor:
        plan = planned(RECIPES["AdamW (conf/rtx3070)"], predictor)
    figure = memory_over_step(timeline_table(plan), plan.budget_bytes / 2**30)
    words = f"One training step at {TOKENS:,} tokens, predicted without a GPU: {plan.sentence()}."
    return _alone(Page(f"GPT-2 medium on an {CARD}", words, (), (Section("", blocks=[Chart(figure)]),)))


def _guide_page(reports: Path) -> str:
    figure = plotly.io.from_json((reports / "gpu_guide" / "fits.plotly.json").read_text(encoding="utf-8"))
    words = "Predicted without a GPU: what a training step holds, and how it is run."
    return _alone(Page("What fits on which card", words, (), (Section("", blocks=[Chart(figure)]),)))


def _alone(page: Page) -> str:
    return render_page(page).replace("</style>", f"{_FIGURE_ALONE}</style>", 1)


def _take(html: str, height_px: int, path: Path, *, browser: str) -> None:
    """Write a picture of a page's first `height_px`, or less where less is there."""
    with tempfile.TemporaryDirectory() as folder:
        page, shot = Path(folder) / "page.html", Path(folder) / "shot.png"
        page.write_text(html, encoding="utf-8")
        subprocess.run(  # noqa: S603 - the browser that was named, on a page of ours
            [
                *(browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
                *(f"--force-device-scale-factor={_SCALE}", f"--window-size={_WIDTH_PX},{height_px}"),
                *("--virtual-time-budget=15000", f"--screenshot={shot}", page.as_uri()),
            ],
            check=True,
            capture_output=True,
        )
        picture = Image.open(shot).convert("RGB")
        ground = Image.new("RGB", picture.size, picture.getpixel((0, 0)))
        bottom = (ImageChops.difference(picture, ground).getbbox() or (0, 0, 0, picture.height))[3]
        picture = picture.crop((0, 0, picture.width, min(picture.height, bottom + _MARGIN_PX)))
        picture.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {picture.width} x {picture.height} px, {path.stat().st_size // 1000} kB")


# How each page is made, and how much of it is shown, in px of the page: of a run's page what a screen or two hold.
_PICTURES = {"page": (_page, 1497), "memory": (_memory_page, 760), "guide": (_guide_page, 1000)}

if __name__ == "__main__":
    main()

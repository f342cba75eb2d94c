"""Tiles: an image of any size through a trained network, as large pieces at a time as the budget allows.

What is the same for masks and boxes; a case adds how tiles are answered and put together.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eightgig.core.errors import BudgetError
from eightgig.datasets.weights import Weights
from eightgig.models.parameters import ImageModelParameters
from eightgig.report.page import Fact, Facts, Gallery, Image, Section, Table
from eightgig.stages.annotations import ImageArray, WorkloadSpec
from eightgig.stages.inference import running
from eightgig.stages.inputs import feeds_of
from eightgig.stages.task import Task
from eightgig.tiles.parameters import TilesParameters
from eightgig.tiles.records import TilesReport
from eightgig.training.parameters import TrainParameters
from eightgig.vram.parameters import PlanParameters
from eightgig.vram.plan import MemoryPlan
from eightgig.vram.runtime.measure import MeasuredPhase

if TYPE_CHECKING:
    from eightgig.tiles.grid import Grid
    from eightgig.vram.planning.target import Target
    from eightgig.vram.tracing.predictor import Predictor
    from eightgig.vram.tracing.workload import Workload

logger = logging.getLogger(__name__)
_SIDES = (2048, 1536, 1024, 768, 512, 384, 256, 192, 128)
_STRIDE = 32  # of detectors; all sides above are multiples of it
_BATCHES = (8, 4, 2, 1)
_MOST_PIXELS = 8 * 512**2  # in a batch: more is no faster


class TilePlan(NamedTuple):
    """How an image is cut, and what the network takes of the device."""

    grid: "Grid"
    batch: int
    memory: MemoryPlan


class TilePlanner:
    """Chooses tile and batch so that a pass over them fits the budget.

    Args:
        task: of the network.
        weights: of the network.
        train: the case's recipe.
        plan: the budget, unless `tiles` has one of its own.
        tiles: what is fixed already.
    """

    def __init__(
        self, task: Task, weights: Weights, train: TrainParameters, plan: PlanParameters, tiles: TilesParameters
    ) -> None:
        self._task, self._card, self._train, self._tiles = task, weights.card, train, tiles
        self._plan = plan.model_copy(update={"budget_gib": tiles.budget_gib or plan.budget_gib})

    @cached_property
    def _target(self) -> "Target":
        from eightgig.vram.planning.target import target_of

        return target_of(self._plan)

    def plan(self, height: int, width: int, overlap_of: Callable[[int], int]) -> TilePlan:
        """Return the plan with the largest share of useful pixels that fits.

        Args:
            height: of the image, pixels.
            width: of the image, pixels.
            overlap_of: least overlap for a tile of some side.

        Raises:
            BudgetError: not even the smallest tile fits.
            ConfigurationError: tile and overlap do not go together.
        """
        from eightgig.vram.tracing.predictor import Predictor
        from eightgig.vram.tracing.workspace import load_calibration

        refusals: dict[int, BudgetError] = {}
        barely: TilePlan | None = None
        with Predictor(load_calibration(self._plan.calibration)) as predictor:
            for grid in self._grids(height, width, overlap_of):
                try:
                    made = self._largest_batch(grid, predictor)
                except BudgetError as error:
                    refusals[grid.tile] = error
                    continue
                if made.memory.verdict == "fits":
                    return made
                barely = barely or made  # a smaller tile may fit surely
        if barely is not None:
            return barely
        raise refusals[min(refusals)]

    def _grids(self, height: int, width: int, overlap_of: Callable[[int], int]) -> "list[Grid]":
        """Return the grids to try, the most useful first, of equal ones the smaller tile."""
        from eightgig.tiles.grid import Grid

        overlap, whole = self._tiles.overlap, -(-max(height, width) // _STRIDE) * _STRIDE
        sides = [side for side in _SIDES if side < whole] + [min(max(whole, _SIDES[-1]), _SIDES[0])]
        if overlap is not None:
            sides = [side for side in sides if 2 * overlap <= side] or [_SIDES[0]]
        if self._tiles.tile is not None:
            sides = [self._tiles.tile]
        grids = [Grid(height, width, side, overlap_of(side) if overlap is None else overlap) for side in sides]
        return sorted(grids, key=lambda grid: (-round(grid.useful_share, 2), grid.tile))

    def _largest_batch(self, grid: "Grid", predictor: "Predictor") -> TilePlan:
        asked = self._tiles.batch
        sizes = [n for n in _BATCHES if n == 1 or n * grid.tile**2 <= _MOST_PIXELS] if asked is None else [asked]
        sizes = [n for n in sizes if n == 1 or asked or n <= grid.num_tiles]
        for batch in sizes[:-1]:
            try:
                made = self._planned(grid, batch, predictor)
            except BudgetError:
                continue
            if made.memory.verdict == "fits":
                return made
        return self._planned(grid, sizes[-1], predictor)

    def _planned(self, grid: "Grid", batch: int, predictor: "Predictor") -> TilePlan:
        from eightgig.vram.planning.planner import make_plan
        from eightgig.vram.planning.request import PlanRequest

        request = PlanRequest.from_records(
            self._target,
            name=self._card.model,
            workload=self._workload(grid.tile),
            sample=f"tiles of {grid.tile} px",
            task="infer",
            effective_batch=batch,
            micro_batch=batch,
            eval_batch=batch,
            precisions=("fp32",),
        )
        made = make_plan(request, self._plan, predictor=predictor)
        return TilePlan(grid, batch, made)

    def _workload(self, tile: int) -> WorkloadSpec:
        from eightgig.vram.tracing.spec import WorkloadSpec

        model = ImageModelParameters(name=self._card.model, weights="none", image_size=tile)
        whole = self._task.workload(model, len(self._card.classes), self._train)
        return WorkloadSpec(factory=f"{__name__}:make_workload", options={"whole": whole.model_dump(mode="json")})


def make_workload(whole: dict[str, Any]) -> "Workload":
    """Return a case's workload without its loss: the network alone on images, as tiles are run."""
    from dataclasses import replace

    from eightgig.vram.tracing.spec import WorkloadSpec

    made = WorkloadSpec(**whole).build()

    def batch(num_tiles: int) -> Any:
        return {"images": made.batch(num_tiles)["images"].float()}

    return replace(made, batch=batch, evaluate=lambda module, tiles: module(tiles["images"]))


@contextmanager
def answering(task: Task, weights: Weights, plan: TilePlan) -> Iterator[Callable[[Any], Any]]:
    """Yield the trained network as a function from tiles (uint8 N3HW) to its output, on a GPU where there is one.

    The budget of the plan is enforced meanwhile.
    """
    import torch

    with running(task, weights, plan.memory) as runner:

        def run(images_N3HW: Any) -> Any:
            (given,) = runner.run(
                feeds_of(task.inputs(weights.card, {"images": torch.from_numpy(images_N3HW)}))
            ).values()
            return given

        yield run


def source_of(tiles: TilesParameters, folder: Path, sample: Callable[[], Any]) -> Path:
    """Return the image that the user names, or a sample that is drawn into `folder`."""
    import cv2

    if tiles.source is not None:
        return Path(tiles.source).expanduser()
    path = folder / "sample.png"
    folder.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), sample()[..., ::-1])
    return path


def report_of(
    source: Path,
    size: tuple[int, int],
    plan: TilePlan,
    *,
    by_stage: dict[str, float],
    memory: MeasuredPhase,
    found: dict[str, float],
    notes: tuple[str, ...] = (),
) -> TilesReport:
    """Return the record of a run, and log how the image was read where that is not plain.

    Args:
        source: the image.
        size: its width and height, pixels.
        plan: how it was cut, with a margin or without.
        by_stage: seconds of reading, running, blending and writing.
        memory: as measured from the first row read to the last one handed over.
        found: names with their shares or numbers, the most first.
        notes: how the image was read.
    """
    from eightgig.core.device import describe_device

    grid, (width, height) = plan.grid, size
    for note in notes:
        logger.warning("%s: %s.", source.name, note)
    return TilesReport(
        source=source.name,
        width=width,
        height=height,
        tile=grid.tile,
        overlap=grid.overlap,
        batch=plan.batch,
        num_tiles=grid.num_tiles,
        useful_share=width * height / (grid.num_tiles * grid.tile**2),
        seconds=memory.seconds,
        megapixels_per_second=round(width * height / 1e6 / memory.seconds, 4),
        seconds_by_stage={name: round(value, 3) for name, value in by_stage.items()},
        predicted_bytes=plan.memory.phase("validate").peak_bytes,
        measured_bytes=memory.peak_bytes,
        device=memory.device,
        device_name=describe_device(memory.device),
        found=found,
        notes=notes,
    )


def tiles_section(report: TilesReport, sheet: ImageArray, *, unit: str, more: str) -> Section:
    """Show an image that went through in tiles.

    Args:
        report: of the run.
        sheet: what was found, drawn on the image.
        unit: how `report.found` is written: `share` of the pixels, or number of `boxes`.
        more: what else was written, and where.
    """
    from eightgig.core.units import format_bytes
    from eightgig.report.images import to_data_uri

    memory = "growth of the whole process" if report.device == "cpu" else "allocated"
    facts = [
        Fact("image", f"{report.width:,} x {report.height:,}"),
        Fact(
            "tiles", f"{report.num_tiles:,} of {report.tile} px", f"overlap {report.overlap}, {report.batch} at a time"
        ),
        Fact("megapixels a second", f"{report.megapixels_per_second:.2f}", f"on {report.device_name}"),
        Fact("of use", f"{report.useful_share:.0%}", "of the pixels that the network saw"),
        Fact("network's peak, predicted", format_bytes(report.predicted_bytes or 0)),
        Fact("measured", format_bytes(report.measured_bytes or 0), memory),
    ]
    read_as = f" It was read like this: {'; '.join(report.notes)}." if report.notes else ""
    rows = [(name, f"{value:.1%}" if unit == "share" else f"{value:,.0f}") for name, value in report.found.items()]
    return Section(
        "A large image in tiles",
        f"{report.source}, cut into overlapping tiles that fit the budget, as `--tags tiles` does it; without a "
        f"source, one that is drawn.{read_as} {more}",
        [Facts(facts), Gallery([Image(to_data_uri(sheet, longest_side_px=1600))]), Table(("found", unit), rows)],
    )

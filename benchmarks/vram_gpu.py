"""Holds predicted memory against a real card: `make bench-gpu`, or `--minutes 9` at a time: it resumes.

Every training workload of the guide, in float32, mixed precision, mixed precision with checkpointing, and as the
planner wants it: planned for 8 GiB, predicted, then run for real under the enforced cap. Results are written after each
row; a row that fails is recorded, and tried again the next time when all others are done. It needs an NVIDIA GPU;
`--dry-run` goes the whole way on the CPU with one tiny network and measures nothing.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from gpu_cases import VARIANTS, Case, Planned, dry_case, guide_cases, plan_case, predict, setting_of
from gpu_results import Outcome, Results, judged, summary_of
from gpu_row import Machine, Measured, Order, probe

from eightgig.core.device import DeviceKind
from eightgig.core.files import write_text
from eightgig.vram.allocator.caching import Segments
from eightgig.vram.cards.found import card_found
from eightgig.vram.tracing.predictor import Predictor
from eightgig.vram.tracing.workspace import load_calibration

FOLDER = Path(__file__).parent
ROW_SECONDS = 240
LEAST_SECONDS = 25  # no row is begun with less time left
_LAST_LINES = 8
# These would be measured instead of what a run gets by default.
_SETTINGS = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "CUBLAS_WORKSPACE_CONFIG"}


class Bench:
    """Measures cases one after the other and keeps the results; plans are made ahead in a thread."""

    def __init__(self, results: Results, path: Path, *, deadline: float, calibration: Path | None) -> None:
        self.results = results
        self._path, self._deadline, self._calibration = path, deadline, load_calibration(calibration)
        self._setting = setting_of(results.machine, results.budget_gib, results.catalog_card, self._calibration)

    def run(self, cases: Sequence[Case]) -> list[str]:
        """Measure what is not measured yet; give the names of the rows that are left."""
        todo = [case for case in cases if case.key not in self.results.rows]
        todo += [case for case in cases if self.results.failed(case.key)]
        with Predictor(self._calibration) as predictor, ThreadPoolExecutor(1) as pool:
            plans = {case.key: pool.submit(plan_case, case, self._setting, predictor) for case in todo}
            for case in todo:
                if self._seconds_left() < LEAST_SECONDS:
                    break
                self._keep(self._outcome(case, plans[case.key]))
            pool.shutdown(wait=True, cancel_futures=True)
        return [case.key for case in cases if case.key not in self.results.rows or self.results.failed(case.key)]

    def repredict(self, cases: Sequence[Case]) -> None:
        """Predict all measured rows anew, with other constants or a better predictor; the plans stay as they were."""
        with Predictor(self._calibration) as predictor:
            for case in cases:
                row = self.results.rows.get(case.key)
                if row is not None and row.planned is not None and row.measured is not None:
                    planned = row.planned
                    new = predict(
                        case.workload, planned.options, planned.gradient_accumulation_steps, self._setting, predictor
                    )
                    planned = planned.model_copy(update={"predicted": new})
                    self._keep(judged(row.model_copy(update={"planned": planned})))

    def _outcome(self, case: Case, plan: "Future[Planned]") -> Outcome:
        begun = time.monotonic()
        planned: Planned | None = None
        measured, problem, same_as = None, None, None
        try:
            planned = plan.result(timeout=self._seconds_left())
            same_as = self.results.same_step(case, planned)
            if same_as is None:
                measured = self._measure(case, planned)
        except Exception as error:  # noqa: BLE001  one row must not end the others, whatever it is
            problem = f"{type(error).__name__}: {error}"
        outcome = Outcome(
            workload=case.name,
            variant=case.variant,
            kind=case.kind,
            planned=planned,
            measured=measured,
            problem=problem,
            same_as=same_as,
            seconds=round(time.monotonic() - begun, 1),
        )
        return judged(outcome)

    def _measure(self, case: Case, planned: Planned) -> Measured:
        results, slug = self.results, case.key.replace(", ", "-").replace(" ", "_").lower()
        order = Order(
            workload=case.workload,
            options=planned.options,
            gradient_accumulation_steps=planned.gradient_accumulation_steps,
            device=results.machine.device,
            budget_gib=results.budget_gib,
            context=self._setting.context,
            fits=planned.fits,
            num_steps=results.num_steps,
            cudnn_attention=VARIANTS[case.variant].cudnn_attention,
            snapshot=self._path.parent / "snapshots" / f"{self._path.stem}-{slug}.pickle.xz",
        )
        with tempfile.TemporaryDirectory() as folder:
            told, answered = Path(folder) / "order.json", Path(folder) / "result.json"
            told.write_text(order.model_dump_json(), encoding="utf-8")
            seconds = min(ROW_SECONDS, self._seconds_left())
            child("run", str(told), str(answered), seconds=seconds, segments=results.segments)
            return Measured.model_validate_json(answered.read_text(encoding="utf-8"))

    def _keep(self, outcome: Outcome) -> None:
        rows = {**self.results.rows, outcome.key: outcome}
        summary, today = summary_of(rows, self.results.budget_gib), datetime.now(UTC).date().isoformat()
        self.results = self.results.model_copy(update={"rows": rows, "summary": summary, "date": today})
        write_text(self._path, self.results.model_dump_json(indent=1) + "\n")
        print(outcome.sentence(), flush=True)

    def _seconds_left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())


def child(*arguments: str, seconds: float, segments: Segments = "native") -> str:
    """Run gpu_row.py in a process of its own; give what it printed.

    Raises:
        RuntimeError: it failed; the message is what it said last.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _SETTINGS}
    if segments == "expandable":
        kept["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
    path = os.pathsep.join(filter(None, [str(FOLDER), *sys.path]))
    done = subprocess.run(  # noqa: S603  ourselves
        [sys.executable, str(FOLDER / "gpu_row.py"), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**kept, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode != 0:
        said = " / ".join(line.strip() for line in done.stderr.strip().splitlines()[-_LAST_LINES:])
        raise RuntimeError(f"exit code {done.returncode}: {said}")
    return done.stdout


def resumed(path: Path, fresh: Results) -> Results:
    """Return the results so far; those of another torch or budget are moved aside."""
    if not path.exists():
        return fresh
    old = Results.model_validate_json(path.read_text(encoding="utf-8"))
    if old.same_setting(fresh):
        return old
    aside = path.with_name(f"{path.stem}-torch-{old.machine.torch}-{old.budget_gib:g}gib.json")
    path.replace(aside)
    print(f"{path.name} was measured otherwise and is now {aside.name}")
    return fresh


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="begin no row that may end later than this")
    parser.add_argument("--results", type=Path, help="folder; default: benchmarks/results")
    parser.add_argument("--budget-gib", type=float, default=8.0)
    parser.add_argument("--steps", type=int, default=20, help="under the cap, where the plan says that it fits")
    parser.add_argument("--segments", choices=get_args(Segments), default="native", help="of torch's allocator")
    parser.add_argument("--only", default="", help="rows whose name contains this, such as `gpt2` or `, amp`")
    parser.add_argument("--calibration", type=Path, help="constants to predict with; default: the packaged ones")
    parser.add_argument("--repredict", type=Path, metavar="RESULT", help="predict a result's rows anew, without a GPU")
    parser.add_argument("--dry-run", action="store_true", help="one tiny network on the CPU")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 0 when all rows are there, 1 when some are left or failed, 2 without a GPU."""
    begun, options = time.monotonic(), parsed(arguments)
    deadline = begun + 60 * options.minutes
    if options.repredict:
        return repredicted(options, deadline)
    device: DeviceKind = "cpu" if options.dry_run else "cuda"
    if device == "cuda" and not has_gpu():
        print("torch finds no usable GPU: nothing was measured. `--dry-run` shows that all is in place.")
        return 2
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.results or (Path(scratch) if options.dry_run else FOLDER / "results")
        machine = probed(device)
        name = "dry-run" if options.dry_run else "-".join(machine.card.lower().split())
        name += "" if options.segments == "native" else f"-{options.segments}"
        path = folder / f"vram_gpu-{name}.json"
        card = card_found() if device == "cuda" else None
        settings = {"budget_gib": options.budget_gib, "num_steps": options.steps, "segments": options.segments}
        fresh = Results.begun(machine, card, **settings)
        bench = Bench(resumed(path, fresh), path, deadline=deadline, calibration=options.calibration)
        left = bench.run(chosen(machine, options))
        return finished(bench, left, path)


def probed(device: DeviceKind) -> Machine:
    """Return what this machine is; a GPU is touched in another process alone."""
    if device == "cpu":
        return probe(device)
    return Machine.model_validate_json(child("probe", device, seconds=ROW_SECONDS).splitlines()[-1])


def chosen(machine: Machine, options: argparse.Namespace) -> list[Case]:
    """Return the cases to run on a machine."""
    if options.dry_run:
        return [dry_case()]
    prefers_cudnn = machine.compute_capability[0] in (9, 10)
    return [case for case in guide_cases(with_cudnn_attention=prefers_cudnn) if options.only in case.key]


def repredicted(options: argparse.Namespace, deadline: float) -> int:
    """Write a result anew with other predictions."""
    path: Path = options.repredict
    bench = Bench(
        Results.model_validate_json(path.read_text(encoding="utf-8")),
        path,
        deadline=deadline,
        calibration=options.calibration,
    )
    bench.repredict(guide_cases(with_cudnn_attention=True))
    return finished(bench, [], path)


def predicted_anew(measured: Path, calibration: Path, out: Path) -> Results:
    """Write a result's rows with the predictions that other constants make, beside it; give them."""
    results = Results.model_validate_json(measured.read_text(encoding="utf-8"))
    bench = Bench(results, out, deadline=time.monotonic(), calibration=calibration)
    known = [*guide_cases(with_cudnn_attention=True), dry_case()]
    bench.repredict([case for case in known if case.key in results.rows])
    return bench.results


def has_gpu() -> bool:
    """Tell whether torch can use a GPU, without touching it."""
    import torch

    return torch.cuda.is_available()


def finished(bench: Bench, left: list[str], path: Path) -> int:
    """Print the summary; 1 where rows are left."""
    if bench.results.summary is not None:
        print(bench.results.summary.model_dump_json(indent=1))
    print(f"{path.name}: {len(bench.results.rows)} rows, {len(left)} left{': ' + '; '.join(left) if left else ''}")
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())

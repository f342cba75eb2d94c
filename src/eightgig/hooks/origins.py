"""Which outputs on the disk are stale: other parameters, or other inputs, than the present ones made them."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from eightgig import __version__
from eightgig.core.files import data_folder
from eightgig.core.origin import Origin, fingerprint, flat, read_origin, write_origin
from eightgig.core.records import Effect, Record

logger = logging.getLogger(__name__)
_FOLDER = ".origins"


class OriginsHook:
    """Keeps beside each output what made it, and says before a run which of the outputs that it takes are stale.

    Kedro's `--only-missing-outputs` looks at existence alone: it keeps an output that other parameters made. This says
    so; nothing is made anew for it.
    """

    def __init__(self) -> None:
        self._folder = Path()
        self._catalog: DataCatalog | None = None
        self._makers: dict[str, Node] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Find the folder that all files go to."""
        self._folder = Path(context.project_path) / data_folder() / _FOLDER

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Say what of that which this run takes from the disk is stale."""
        names = run_params.get("pipeline_names") or [run_params.get("pipeline_name") or "__default__"]
        whole = sum((pipelines[name] for name in names if name in pipelines), Pipeline([])) or pipeline
        self._catalog, self._makers = catalog, {name: node for node in whole.nodes for name in node.outputs}
        taken = pipeline.inputs() & self._makers.keys()
        if run_params.get("only_missing_outputs"):
            taken |= pipeline.all_outputs()
        stale = {name: changes for name, changes in self._stale().items() if name in taken and self._is_there(name)}
        for changes, outputs in _by_reason(stale).items():
            logger.warning(
                "stale, for %s: %s. They are taken as they are; run the stages that make them once more",
                changes,
                ", ".join(outputs),
            )

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Keep what made the output."""
        paths = self._files(dataset_name)
        if self._catalog is None or not paths:
            return
        origin = Origin(
            node=node.name,
            parameters=self._parameters(node),
            inputs=self._inputs(node),
            fingerprint=fingerprint(paths),
            eightgig=__version__,
        )
        write_origin(self._path(dataset_name), origin)

    def _stale(self) -> dict[str, list[str]]:
        """Return the outputs that the present parameters would not make, with the reasons; sources come before."""
        found: dict[str, list[str]] = {}
        for name, node in self._in_order():
            origin = read_origin(self._path(name))
            if origin is None:  # made before origins were kept, or by hand: nothing is known of it
                continue
            changes = origin.changes(self._parameters(node), self._inputs(node))
            # What follows from a stale input is told with that input's reason.
            changes = changes or [told for source in node.inputs for told in found.get(source, ())]
            if changes:
                found[name] = list(dict.fromkeys(changes))
        return found

    def _in_order(self) -> Iterator[tuple[str, Node]]:
        ordered = Pipeline(dict.fromkeys(self._makers.values())).nodes
        return ((name, node) for node in ordered for name in node.outputs)

    def _parameters(self, node: Node) -> dict[str, str]:
        catalog: Any = self._catalog
        leaves: dict[str, str] = {}
        for name in node.inputs:
            if name.startswith("params:"):
                value = catalog.load(name)
                short = name.removeprefix("params:").partition(".")[2] or name.removeprefix("params:")
                value = value if isinstance(value, Record | dict) else str(value)
                leaves |= flat({short: value}, without=(Effect.NONE,))
        return leaves

    def _inputs(self, node: Node) -> dict[str, str]:
        origins = {name: read_origin(self._path(name)) for name in node.inputs if name in self._makers}
        return {name.partition(".")[2]: origin.fingerprint for name, origin in origins.items() if origin is not None}

    def _files(self, name: str) -> tuple[Path, ...]:
        dataset: Any = self._catalog.get(name) if self._catalog is not None else None
        files = getattr(dataset, "files", None) or (
            (Path(dataset._filepath),) if getattr(dataset, "_filepath", None) else ()
        )
        return tuple(Path(path) for path in files if Path(path).is_file())

    def _is_there(self, name: str) -> bool:
        dataset: Any = self._catalog.get(name) if self._catalog is not None else None
        return dataset is not None and bool(dataset.exists())

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"


def _by_reason(stale: Mapping[str, list[str]]) -> dict[str, list[str]]:
    outputs: dict[str, list[str]] = {}
    for name, changes in stale.items():
        outputs.setdefault("; ".join(changes), []).append(name)
    return outputs

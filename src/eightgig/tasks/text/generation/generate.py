"""Generate: text behind a prompt, and how fast and in how much memory the network writes."""

import sys
from typing import TYPE_CHECKING, Any

from kedro.pipeline import Pipeline

from eightgig.core.device import resolve_device
from eightgig.datasets.weights import Weights
from eightgig.stages.annotations import Table, TokenStore
from eightgig.stages.inference import on_device
from eightgig.stages.task import Task, stage_node, stage_pipeline
from eightgig.stages.trained import indices_of, restore
from eightgig.tasks.text.generation.parameters import GenerateParameters
from eightgig.tasks.text.generation.records import WrittenTexts
from eightgig.vram.parameters import PlanParameters

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PROMPT_TOKENS = 24
_ARTICLE_TOKENS = 100  # the article's measure (2.2.2)


def create_pipeline(task: Task) -> Pipeline:
    """Return the nodes from `weights` and `tokenizer` to `generated` and `generation_table`."""
    trained = {"weights": "weights", "tokenizer": "tokenizer"}
    chosen = {"parameters": "params:generate", "plan": "params:plan"}
    writing = {**trained, "store": "store", "splits": "splits", **chosen}
    return stage_pipeline(
        "generate",
        [
            stage_node(generate_texts, writing, "generated", task=task),
            stage_node(measure_writing, {"weights": "weights", **chosen}, "generation_table", task=task),
        ],
    )


def generate_texts(
    task: Task,
    weights: Weights,
    tokenizer: str,
    store: TokenStore,
    splits: Table,
    parameters: GenerateParameters,
    plan: PlanParameters,
) -> WrittenTexts:
    """Write behind the prompt, or behind the beginnings of held-out blocks; the first text is shown as it grows.

    Raises:
        BudgetError: memory ran out.
        ConfigurationError: the prompt is empty or too long.
        StoreError: the store is of another tokenizer than the network.
    """
    from eightgig.data.store.tokenizers import separator_of
    from eightgig.tasks.text.generation.writer import write_texts
    from eightgig.tasks.text.task import end_of_text, tokenizer_of

    task.check_store(weights.card, store)
    encoder = tokenizer_of(tokenizer)
    if parameters.prompt is None:
        prompts = _held_out(store, indices_of(splits, "test"), encoder, parameters.num_samples)
    else:
        prompts = [parameters.prompt] * parameters.num_samples
    module = _module(task, weights, parameters, plan)
    with on_device(module, plan):
        made = write_texts(
            module,
            encoder,
            prompts,
            parameters,
            eos_id=separator_of(encoder, end_of_text(task.config_from_card(weights.card))),
            max_context=_positions(module),
            sink=_show if parameters.stream else None,
        )
    if parameters.stream:
        _show("\n")
    return made


def measure_writing(task: Task, weights: Weights, parameters: GenerateParameters, plan: PlanParameters) -> Table:
    """Measure how the network writes, with keys and values of the text so far kept and without.

    Returns:
        A row each: tokens a second, milliseconds to the first token, bytes of keys and values, memory on a GPU,
        precision. As many tokens as the article measures (100), fewer where the network looks at fewer.

    Raises:
        BudgetError: memory ran out.
    """
    import pandas as pd

    from eightgig.tasks.text.generation.speed import compare_cache

    module = _module(task, weights, parameters, plan).eval()
    prompt = min(16, _positions(module) // 4)
    tokens = min(_ARTICLE_TOKENS, _positions(module) - prompt, max(2, parameters.max_new_tokens))
    with on_device(module, plan):
        rows = compare_cache(module, config=module.config, tokens=tokens, prompt_tokens=prompt)
    return pd.DataFrame([row.model_dump() for row in rows])


def _module(task: Task, weights: Weights, parameters: GenerateParameters, plan: PlanParameters) -> Any:
    """Return the trained network in the precision that it writes in."""
    from eightgig.tasks.text.generation.precision import dtype_of, writing_precision

    precision = writing_precision(parameters.precision, resolve_device(plan.device))
    return restore(task, weights).module.to(dtype_of(precision))


def _held_out(store: TokenStore, indices: list[int], encoder: "Tokenizer", number: int) -> list[str]:
    chosen = indices[:: max(1, len(indices) // number)][:number]
    return [encoder.decode(store.tokens(index)[:_PROMPT_TOKENS].tolist()) or " " for index in chosen]


def _positions(module: Any) -> int:
    return int(getattr(module.config, "n_positions", None) or module.config.max_position_embeddings)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()

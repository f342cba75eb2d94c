"""What the report shows of the text generator: its documents, its bits per byte, its own texts and their speed."""

from collections.abc import Mapping
from typing import Any

from eightgig.report.page import Chart, Code, Fact, Facts, Section
from eightgig.report.page import Table as PageTable
from eightgig.stages.annotations import Figure, Table, TokenStore
from eightgig.stages.trained import indices_of
from eightgig.tasks.text.generation.records import LanguageReport, WrittenTexts
from eightgig.tasks.text.generation.task import RECORDS
from eightgig.tasks.text.sources import RawTexts

_MOST_REJECTS = 20


class GeneratorResults:
    """The generator's part of the page (see `eightgig.stages.report.Results`)."""

    records = RECORDS
    unit = "block"
    drawn_from = {  # noqa: RUF012
        "metrics": "metrics",
        "history": "history",
        "store": "store",
        "splits": "splits",
    }
    figures = ("documents", "bits")
    shown = {  # noqa: RUF012
        "metrics": "metrics",
        "document_splits": "document_splits",
        "generated": "generated",
        "generation": "generation_table",
    }

    def draw(self, metrics: LanguageReport, history: Table, store: TokenStore, splits: Table) -> tuple[Figure, Figure]:
        """Return how well each held-out document was predicted, and validation text after each epoch."""
        from eightgig.tasks.text import figures as texts
        from eightgig.tasks.text.generation.objective import bits_per_byte

        val = indices_of(splits, "val")
        tokens, num_bytes = len(val) * store.max_tokens, int(store.num_bytes[val].sum())
        bits = [bits_per_byte(loss * tokens, num_bytes) for loss in history["val_loss"]]
        return texts.bits_by_document(metrics.bits_per_byte_by_document), texts.bits_by_epoch(bits)

    def headline(self, shown: Mapping[str, Any]) -> Fact:
        """Return the bits per byte."""
        metrics: LanguageReport = shown["metrics"]
        note = f"perplexity {metrics.perplexity:.1f} a token, {metrics.next_token_accuracy:.1%} of the tokens guessed"
        return Fact("Bits per byte of held-out text", f"{metrics.bits_per_byte:.3f}", note, mark="good")

    def data(
        self, raw: RawTexts, rejects: Table, store: TokenStore, splits: Table, shown: Mapping[str, Any]
    ) -> Section:
        """Show what the network learned from, and what was refused."""
        of_documents = shown["document_splits"]["split"].value_counts()
        rows = []
        for split in ("train", "val", "test"):
            indices = indices_of(splits, split)
            rows.append(
                (split, int(of_documents.get(split, 0)), len(indices), f"{int(store.num_bytes[indices].sum()):,}")
            )
        refused = [PageTable.from_frame(rejects.head(_MOST_REJECTS), caption=f"{len(rejects)} documents were refused")]
        return Section(
            "What was trained on what",
            f"{raw.origin}: documents are whole in one split. They are joined and cut into blocks of "
            f"{store.max_tokens} tokens of a vocabulary of {store.vocab_size:,}, so that nothing is padded."
            + ("" if len(rejects) else "\n\nNo document was refused."),
            [PageTable(("split", "documents", "blocks", "bytes"), rows), *(refused if len(rejects) else [])],
        )

    def results(self, shown: Mapping[str, Any]) -> list[Section]:
        """Show how well held-out text is predicted, and how fast text is written."""
        metrics: LanguageReport = shown["metrics"]
        facts = [
            Fact("bits per byte", f"{metrics.bits_per_byte:.4f}"),
            Fact("perplexity", f"{metrics.perplexity:.2f}"),
            Fact("loss, nats a token", f"{metrics.loss:.4f}"),
            Fact("next token guessed", f"{metrics.next_token_accuracy:.2%}"),
        ]
        writing = shown["generation"]
        formats = {"seconds": ".3f", "tokens_per_second": ".1f", "first_token_ms": ".1f", "kv_cache_bytes": ",.0f"}
        return [
            Section(
                "Results on held-out documents",
                f"{metrics.num_tokens:,} tokens, {metrics.num_bytes:,} bytes, in {metrics.num_blocks:,} blocks, used "
                "for nothing else. Perplexity is a token's and compares networks with one tokenizer; bits per byte "
                "compares any.",
                [
                    Facts(facts),
                    Chart(shown["bits_figure"], "Validation documents after each epoch"),
                    Chart(shown["documents_figure"], "By document"),
                ],
            ),
            Section(
                "Writing",
                f"{int(writing['tokens'].iloc[0])} tokens on {writing['device'].iloc[0]} in "
                f"{writing['precision'].iloc[0]}, with the keys and values of the text so far kept (the cache) and "
                "without, measured in turn.",
                [PageTable.from_frame(writing, formats=formats)],
            ),
        ]

    def images(self, store: TokenStore, shown: Mapping[str, Any]) -> list[Section]:  # noqa: ARG002
        """Show what it wrote last."""
        generated: WrittenTexts = shown["generated"]
        texts = [
            Code(f"{one.prompt}|{one.text}", f"{one.num_tokens} tokens, ended by {one.finish_reason}")
            for one in generated.texts
        ]
        return [
            Section(
                "What it writes",
                "As `--tags generate` does it; the bar | stands between the prompt and what was written. "
                f"{generated.tokens_per_second:.0f} tokens a second in {generated.precision}, all texts together.",
                list(texts),
            )
        ]

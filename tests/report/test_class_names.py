"""Names of classes in any script stay whole, from the folder to the page."""

import html
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
import pandas as pd
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eightgig.data.store.tokenizers import train_bpe
from eightgig.data.store.tokens import TokenContent, TokenStore
from eightgig.datasets.results import TableDataset
from eightgig.export.card import TextModelCard
from eightgig.report import figures
from eightgig.report.html import render_page
from eightgig.report.page import Chart, Page, Section, Table
from eightgig.tasks.text.manifest import build_manifest
from eightgig.tasks.text.parameters import TextDataParameters
from eightgig.tasks.text.sources import open_texts

CATALOG = Path(__file__).parents[2] / "conf/base/catalog.yml"
TOKENIZER = train_bpe(["a"], vocab_size=257)
# The names are read and written back: what is in them is their own, also where it looks like another letter.
NAMES = [
    "中文", "عربي", "שלום", "😀👩\u200d👩\u200d👧", "cafe\u0301", "नमस्ते", "<b>bold", "a&amp;b", "it's", 'say "so"',
    "0", "1", "007", "1.5", "2024-01-31", "NA", "nan", "None", "true", "a, b", "a;b", "%d", "${x}", "[x]", "a b", "x<y",
]  # fmt: skip
_LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp"), exclude_characters="/\\.")
_DRAWN = (
    st.text(_LETTERS, min_size=1, max_size=12).map(str.strip).filter(lambda name: name and len(name.encode()) < 200)
)
_SETS = st.lists(st.sampled_from(NAMES) | _DRAWN, min_size=2, max_size=5, unique=True)


def table_dataset(path):
    text = CATALOG.read_text().replace("${data_root:}", "")
    names = yaml.safe_load(text)["{case}.manifest"]["load_args"]
    return TableDataset(filepath=str(path), load_args=names)


def kept(path, frame):
    dataset = table_dataset(path)
    dataset.save(frame)
    return dataset.load()


@settings(max_examples=12, deadline=None)
@given(names=_SETS)
@example(names=NAMES)
def test_names_stay_whole_from_the_folder_to_the_page(names):
    with TemporaryDirectory() as place:
        folder = Path(place)
        for name in names:
            (folder / "texts" / name).mkdir(parents=True)
            (folder / "texts" / name / "0.txt").write_text(f"a text of {names.index(name)}")
        data = TextDataParameters(source="folders", root=str(folder / "texts"))
        manifest, rejects = build_manifest(open_texts(data), data)
        assert rejects.empty
        manifest = kept(folder / "manifest.csv", manifest)
        classes = tuple(sorted(manifest["class_name"].unique()))
        assert set(classes) == {path.name for path in (folder / "texts").iterdir()} == set(names)
        TokenContent(
            tokens=[[0]] * len(names), labels=[*range(len(names))], texts=None, num_bytes=[1] * len(names),
            paths=[*manifest["path"]], classes=classes, tokenizer_json=TOKENIZER, vocab_size=257, max_tokens=8,
        ).write(folder / "s.h5")  # fmt: skip
        assert TokenStore(folder / "s.h5").classes == classes
        assert in_onnx(classes) == classes
        table = kept(folder / "t.csv", pd.DataFrame({"class_name": classes, "predicted": classes[::-1]}))
        assert [*table["class_name"]] == [*classes]
        page = render_page(Page("t", "s", [], [Section("x", "", [Table.from_frame(table), Chart(matrix(classes))])]))
    assert all(f">{html.escape(name, quote=True).replace('&quot;', '&#34;').replace('&#x27;', '&#39;')}<" in page
               for name in classes)  # fmt: skip


def in_onnx(classes):
    """Return the classes as a file of ONNX gives them back."""
    card = TextModelCard(model="m", classes=classes, weights_sha256="0", max_tokens=8, tokenizer_sha256="1")
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    onnx.helper.set_model_props(model, card.to_metadata())
    read = onnx.load_model_from_string(model.SerializeToString())
    return TextModelCard.from_metadata({entry.key: entry.value for entry in read.metadata_props}).classes


def matrix(classes):
    return figures.confusion(pd.DataFrame(0, index=classes, columns=classes))


def test_figures_show_names_as_names():
    """plotly takes `<b>` for bold letters, and 0, 1 and 007 for numbers, of which two may be one place."""
    shown = json.loads(matrix(NAMES).to_json())
    assert [html.unescape(name) for name in shown["data"][0]["x"]] == NAMES
    assert shown["data"][0]["x"][NAMES.index("x<y")] == "x&lt;y"
    for axis in ("xaxis", "yaxis"):
        assert shown["layout"][axis]["type"] == "category"
    table = pd.DataFrame({"class": NAMES, "precision": 0.5, "recall": 0.5, "f1": 0.5})
    assert figures.per_class(table).layout.yaxis.type == "category"
    rows = pd.DataFrame({"class": NAMES, "split": "train", "num_images": 1})
    assert figures.class_balance(rows).layout.yaxis.type == "category"

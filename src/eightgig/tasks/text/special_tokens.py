"""Tokens that are no text: what fills up a batch, and what ends a text, for a network that is not built yet."""

from eightgig.core.errors import ConfigurationError
from eightgig.models.parameters import TextModelParameters
from eightgig.tasks.text.model import configuration_of, padding_id_of


def padding_of(parameters: TextModelParameters) -> int:
    """Return the id of the token that fills up texts in a batch for the network of `parameters`.

    Raises:
        ConfigurationError: neither its configuration nor its tokenizer has one.
    """
    found = padding_id_of(configuration_of(parameters, "sequence_classification"), parameters)
    if found is None:
        raise ConfigurationError(
            f"model.name: {parameters.name} has no padding token, no token that ends a text, and its tokenizer has "
            "none that is known; texts of several lengths cannot be put into a batch without. Set model.config to "
            "{pad_token_id: N}, N the id of a token that no text needs."
        )
    return found


def end_of_text_id(parameters: TextModelParameters) -> int | None:
    """Return the id of the token that ends a text by the configuration of `parameters`, None where it names none."""
    own = parameters.config.get("eos_token_id")
    if own is None and parameters.weights != "none":
        own = getattr(configuration_of(parameters).get_text_config(), "eos_token_id", None)
    own = own[0] if isinstance(own, list) and own else own
    return own if isinstance(own, int) else None

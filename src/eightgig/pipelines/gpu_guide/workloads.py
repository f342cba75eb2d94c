"""The guide's networks, each as a function that gives a `Workload`. Only shapes play a part: nothing is downloaded."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eightgig.vram.tracing.workload import Workload


def image_classifier(name: str, *, image_size: int, num_classes: int) -> "Workload":
    """Return a classifier of torchvision with cross-entropy (article 2.1.1, 5.1)."""
    import torch
    from torch.nn import functional
    from torchvision.models import get_model

    from eightgig.vram.tracing.workload import Workload

    def batch(num_samples: int) -> tuple["Tensor", "Tensor"]:
        return torch.empty(num_samples, 3, image_size, image_size), torch.zeros(num_samples, dtype=torch.long)

    def loss(module: "nn.Module", samples: Any) -> "Tensor":
        return functional.cross_entropy(module(samples[0]), samples[1])

    return Workload(module=get_model(name, num_classes=num_classes), batch=batch, loss=loss)


def object_detector(name: str, *, image_size: int, num_classes: int, num_boxes: int = 32) -> "Workload":
    """Return YOLOv5 with its own loss, so many boxes an image (article 5.2)."""
    import torch

    from eightgig.tasks.detection.model import SIZES, YoloV5
    from eightgig.tasks.detection.parameters import DetectionLossParameters
    from eightgig.tasks.detection.yolo_loss import detection_loss_sum
    from eightgig.vram.tracing.workload import Workload

    module, parameters = YoloV5(SIZES[name], num_classes), DetectionLossParameters()

    def batch(num_samples: int) -> tuple["Tensor", "Tensor", "Tensor"]:
        labels = torch.zeros(num_samples, num_boxes, dtype=torch.long)
        return torch.empty(num_samples, 3, image_size, image_size), torch.zeros(num_samples, num_boxes, 4), labels

    def loss(module: Any, samples: Any) -> "Tensor":
        images_N3HW, boxes_NM4, labels_NM = samples
        anchors = next(buffer for name, buffer in module.named_buffers() if name.endswith("anchors"))
        found = detection_loss_sum(module(images_N3HW), boxes_NM4, labels_NM, anchors, parameters=parameters)
        return found.total / len(images_N3HW)

    return Workload(module=module, batch=batch, loss=loss)


def semantic_segmenter(*, height: int, width: int, num_classes: int) -> "Workload":
    """Return the article's U-Net with cross-entropy over pixels (article 2.1.2)."""
    import torch
    from torch.nn import functional

    from eightgig.tasks.segmentation.unet import UNet
    from eightgig.vram.tracing.workload import Workload

    def batch(num_samples: int) -> tuple["Tensor", "Tensor"]:
        labels = torch.zeros(num_samples, height, width, dtype=torch.long)
        return torch.empty(num_samples, 3, height, width), labels

    def loss(module: "nn.Module", samples: Any) -> "Tensor":
        return functional.cross_entropy(module(samples[0]), samples[1])

    return Workload(module=UNet(num_classes), batch=batch, loss=loss)


def text_classifier(*, num_tokens: int, num_classes: int, num_layers: int = 12) -> "Workload":
    """Return BERT-base with a classification head (article 2.2.1)."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from eightgig.vram.tracing.workload import Workload

    config = BertConfig(num_hidden_layers=num_layers)
    config.num_labels = num_classes

    def batch(num_samples: int) -> dict[str, "Tensor"]:
        ids = torch.zeros(num_samples, num_tokens, dtype=torch.long)
        return {"input_ids": ids, "labels": torch.zeros(num_samples, dtype=torch.long)}

    return Workload(module=BertForSequenceClassification(config), batch=batch, loss=_own_loss)


def language_model(*, num_tokens: int, width: int, num_layers: int, num_heads: int) -> "Workload":
    """Return a GPT-2 that learns the next token (article 3.1.1)."""
    import torch

    from eightgig.vram.tracing.workload import Workload

    def batch(num_samples: int) -> dict[str, "Tensor"]:
        ids = torch.zeros(num_samples, num_tokens, dtype=torch.long)
        return {"input_ids": ids, "labels": ids.clone()}

    return Workload(module=_gpt2(width, num_layers, num_heads, use_cache=False), batch=batch, loss=_own_loss)


def text_generator(*, num_tokens: int, traced_tokens: int, width: int, num_layers: int, num_heads: int) -> "Workload":
    """Return a GPT-2 that writes the last `traced_tokens` of `num_tokens`, with a cache of keys and values (2.2.2).

    The last tokens hold most, and all cost much the same; tracing every one of them would take minutes. A greedy choice
    stands for the article's sampling: both look at one row of the vocabulary.
    """
    import torch
    from transformers import DynamicCache

    from eightgig.vram.tracing.workload import Workload

    def batch(num_samples: int) -> "Tensor":
        return torch.zeros(num_samples, 1, dtype=torch.long)

    def generate(module: "nn.Module", ids: "Tensor") -> "Tensor":
        cache = DynamicCache()
        for layer in range(num_layers):
            keys = torch.empty(ids.shape[0], num_heads, num_tokens - traced_tokens, width // num_heads)
            cache.update(keys, keys.clone(), layer)
        for _ in range(traced_tokens):
            out = module(input_ids=ids, past_key_values=cache, use_cache=True)
            ids = out.logits[:, -1:].argmax(-1)
        return ids

    def loss(module: "nn.Module", ids: "Tensor") -> "Tensor":
        return module(input_ids=ids, labels=ids).loss

    module = _gpt2(width, num_layers, num_heads, use_cache=True)
    return Workload(module=module, batch=batch, loss=loss, evaluate=generate)


def policy_gradient(*, num_states: int = 4, num_actions: int = 2, hidden: int = 128) -> "Workload":
    """Return the article's PPO update: policy and value network, clipped ratio, both losses at once (2.3).

    A sample is one step of an episode.
    """
    import torch
    from torch.nn import functional

    from eightgig.tasks.reinforcement.model import ActorCritic
    from eightgig.vram.tracing.workload import Workload

    def batch(num_samples: int) -> dict[str, "Tensor"]:
        per_step = {name: torch.empty(num_samples) for name in ("old_log_probs", "returns", "advantages")}
        actions = torch.zeros(num_samples, 1, dtype=torch.long)
        return {"states": torch.empty(num_samples, num_states), "actions": actions, **per_step}

    def loss(module: "nn.Module", samples: Any) -> "Tensor":
        logits, values = module(samples["states"])
        log_probs = functional.log_softmax(logits, dim=-1).gather(1, samples["actions"]).squeeze(1)
        ratio = torch.exp(log_probs - samples["old_log_probs"])
        clipped = ratio.clamp(0.8, 1.2) * samples["advantages"]
        policy_loss = -torch.minimum(ratio * samples["advantages"], clipped).mean()
        return policy_loss + 0.5 * functional.mse_loss(values, samples["returns"])

    module = ActorCritic(num_states, num_actions, hidden=(hidden, hidden), activation="relu")
    return Workload(module=module, batch=batch, loss=loss)


def _gpt2(width: int, num_layers: int, num_heads: int, *, use_cache: bool) -> "nn.Module":
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=width, n_layer=num_layers, n_head=num_heads, use_cache=use_cache)
    return GPT2LMHeadModel(config)


def _own_loss(module: "nn.Module", batch: Any) -> "Tensor":
    """Return the loss that a network of transformers computes when it is given labels."""
    return module(**batch).loss

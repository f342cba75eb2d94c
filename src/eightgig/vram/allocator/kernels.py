"""Kernels that take workspace memory, each with what the size of its workspace is computed from."""

from typing import Annotated, Literal

from pydantic import Field

from eightgig.core.records import Record

ConvolutionKind = Literal["convolution", "convolution_backward"]
AttentionKind = Literal["flash_attention_backward", "efficient_attention_backward"]


class CublasHandle(Record):
    """The first matrix product of a thread, which makes a handle of cuBLAS with a workspace of its own."""

    kind: Literal["cublas"] = "cublas"


class ConvolutionKernel(Record):
    """A convolution or its backward pass.

    Attributes:
        input_bytes, output_bytes, weight_bytes: of the tensors; of a backward pass the output's gradient is the output.
        element_bytes: of one number of the input.
        kernel_size: the larger side, in pixels.
        channels_per_group: of the input.
        channels_last: whether the input lies so in memory.
    """

    kind: ConvolutionKind
    input_bytes: int
    output_bytes: int
    weight_bytes: int
    element_bytes: int
    groups: int
    kernel_size: int
    channels_per_group: int
    channels_last: bool
    transposed: bool


class AttentionKernel(Record):
    """The backward pass of fused attention, by the shape of its query."""

    kind: AttentionKind
    batch: int
    heads: int
    tokens: int
    head_dim: int
    element_bytes: int


class EmbeddingKernel(Record):
    """The backward pass of an embedding of so many indices."""

    kind: Literal["embedding_backward"] = "embedding_backward"
    num_indices: int


class LayerNormKernel(Record):
    """The backward pass of a LayerNorm over so many features; 0 where it has no weight."""

    kind: Literal["layer_norm_backward"] = "layer_norm_backward"
    num_features: int


WorkspaceKernel = Annotated[
    CublasHandle | ConvolutionKernel | AttentionKernel | EmbeddingKernel | LayerNormKernel, Field(discriminator="kind")
]

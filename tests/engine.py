"""Small real parts for the tests of the engine: random models, a tokenizer, hand-made coders."""

from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from sparsify import SparseCoder, SparseCoderConfig
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from interp.coders.formats.sparsify import SparsifyCoder
from interp.coders.linear import Gate, LinearCoder, layer_norm
from interp.coders.load import load_coder
from interp.coders.rules import GroupMax, Rule, Threshold, TopK
from interp.model.subject import Subject, load_subject
from interp.rewriting.checks import (
    Setting,
    Simulations,
)
from interp.vocabulary import Protocol
from tests import REPOSITORY

D_MODEL, LAYERS, VOCABULARY = 16, 3, 50

# The weights are drawn wide, so that a change in one module shows in the logits.
SHAPE = {
    "hidden_size": D_MODEL,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "vocab_size": VOCABULARY,
    "initializer_range": 0.3,
}
MLP = {
    "llama": "layers.1.mlp",
    "gpt_neox": "layers.1.mlp",
    "gpt2": "h.1.mlp",
    "gemma": "layers.1.mlp",
}
"""The middle one of the three MLPs of each architecture."""


@cache
def tiny_model(architecture: str) -> PreTrainedModel:
    """A random model of three layers. It is shared: leave it as it is."""
    torch.manual_seed(0)
    model: PreTrainedModel
    match architecture:
        case "llama":
            model = LlamaForCausalLM(LlamaConfig(**SHAPE, num_key_value_heads=1))
        case "gpt_neox":
            model = GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE))
        case "gpt2":
            model = GPT2LMHeadModel(
                GPT2Config(
                    n_embd=D_MODEL,
                    n_layer=LAYERS,
                    n_head=2,
                    vocab_size=VOCABULARY,
                    initializer_range=0.3,
                )
            )
        case "gemma":
            model = Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, num_key_value_heads=1, head_dim=8))
        case _:
            raise KeyError(architecture)
    return model.eval().requires_grad_(False)


def word_tokenizer(bos: str | None = "<s>") -> PreTrainedTokenizerFast:
    """One token a word: ``w0`` … ``w48``; ``<s>`` (number 49) begins a sequence."""
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"<s>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos)


def tiny_subject(architecture: str = "llama", hookpoint: str | None = None) -> Subject:
    return Subject(
        tiny_model(architecture),
        word_tokenizer(),
        f"tiny-{architecture}",
        MLP[architecture] if hookpoint is None else hookpoint,
    )


def random_tokens(contexts: int, seq: int, seed: int = 0) -> Tensor:
    """Contexts of random words, each beginning with ``<s>``."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(VOCABULARY - 1, (contexts, seq), generator=generator)
    tokens[:, 0] = VOCABULARY - 1
    return tokens


def random_coder(
    *,
    transcode: bool = True,
    skip: bool = True,
    num_latents: int = 12,
    k: int = 3,
    d_in: int = D_MODEL,
    seed: int = 0,
) -> SparsifyCoder:
    """A coder with random weights, biases included."""
    generator = torch.Generator().manual_seed(seed)
    module = SparseCoder(
        d_in,
        SparseCoderConfig(num_latents=num_latents, k=k, skip_connection=skip, transcode=transcode),
    )
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) / 2
    return SparsifyCoder(module.requires_grad_(False))


def hand_coder(
    encoder: list[list[float]],
    decoder: list[list[float]],
    *,
    k: int,
    bias: list[float],
    skip: list[list[float]] | None,
) -> SparsifyCoder:
    """A transcoder with given weights: one row a latent; ``skip`` is multiplied as x Wᵀ."""
    module = SparseCoder(
        len(bias),
        SparseCoderConfig(
            num_latents=len(encoder), k=k, skip_connection=skip is not None, transcode=True
        ),
    ).requires_grad_(False)
    module.encoder.weight.copy_(torch.tensor(encoder))
    module.encoder.bias.zero_()
    assert module.W_dec is not None
    module.W_dec.copy_(torch.tensor(decoder))
    module.b_dec.copy_(torch.tensor(bias))
    if skip is not None:
        assert module.W_skip is not None
        module.W_skip.copy_(torch.tensor(skip))
    return SparsifyCoder(module)


def linear_coder(
    rule: Rule, *, kind: Literal["transcoder", "sae"] = "transcoder", **parts: Any
) -> LinearCoder:
    """A coder of 12 latents with random weights and some other rule than ``sparsify`` has."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) / 2

    weights = draw(12, D_MODEL), draw(12), draw(12, D_MODEL), draw(D_MODEL)
    return LinearCoder(kind, *weights, rule, **parts)


_thresholds = torch.linspace(0, 2, 12)
CODERS: dict[str, SparsifyCoder | LinearCoder] = {
    "skip transcoder": random_coder(),
    "transcoder": random_coder(skip=False),
    "SAE": random_coder(transcode=False, skip=False),
    "JumpReLU": linear_coder(
        Threshold(_thresholds), skip_weight=torch.full((D_MODEL, D_MODEL), 0.1)
    ),
    "ReLU": linear_coder(
        Threshold(torch.zeros(12)), kind="sae", centre=torch.linspace(-1, 1, D_MODEL)
    ),
    "gated": linear_coder(
        Threshold(torch.zeros(12)), gate=Gate(torch.linspace(-1, 1, 12), 1 + _thresholds)
    ),
    "group max": linear_coder(GroupMax(4)),
    "by length": linear_coder(TopK(3, weights=1 + _thresholds)),
    "layer norm": linear_coder(TopK(3), normalise=layer_norm(1e-5)),
}
"""A random coder of every kind and rule."""


def whole_forward(coder: SparsifyCoder | LinearCoder, x: Tensor, *, silent: bool = False) -> Tensor:
    """What a coder puts out for vectors, computed in the plainest way; with no latents if
    ``silent``."""
    if isinstance(coder, SparsifyCoder):
        module = coder.module
        if not silent:
            whole: Tensor = module(x).sae_out
            return whole
        constant = module.b_dec.expand_as(x)
        return constant if module.W_skip is None else constant + x @ module.W_skip.mT
    scale, shift = torch.ones(len(x), 1), torch.zeros(len(x), 1)
    if coder.normalise is not None:
        x, scale, shift = coder.normalise(x)
    read = x if coder.centre is None else x - coder.centre
    activations = torch.relu(read @ coder.encoder.mT + coder.encoder_bias)
    if coder.gate is not None:
        shared = read @ coder.encoder.mT
        activations = torch.relu(shared * coder.gate.scale + coder.encoder_bias)
        activations = activations * (shared + coder.gate.bias > 0)
    match coder.rule:
        case Threshold(thresholds):
            kept = activations > thresholds
        case TopK(k, weights):
            ranks = activations * (1 if weights is None else weights)
            kept = ranks >= ranks.sort(-1).values[:, [-k]]
        case GroupMax(k):
            groups = activations.unflatten(-1, (k, -1))
            kept = (groups == groups.amax(-1, keepdim=True)).flatten(1)
        case rule:
            raise TypeError(rule)
    y = activations * kept * (not silent) @ coder.decoder + coder.decoder_bias
    return (y if coder.skip_weight is None else y + x @ coder.skip_weight.mT) * scale + shift


DEMO_CODER = REPOSITORY / "demo" / "coder"


@cache
def smollm2(model_cache: Path, hookpoint: str = "layers.10.mlp") -> Subject:
    """The real SmolLM2-135M-Instruct. It is shared: leave it as it is."""
    subject = load_subject(
        str(model_cache / "smollm2-135m-instruct"), hookpoint, device=torch.device("cpu")
    )
    return subject


def demo_coder() -> SparsifyCoder:
    coder = load_coder(str(DEMO_CODER), "layers.10.mlp", device=torch.device("cpu"))
    assert isinstance(coder, SparsifyCoder)
    return coder


HOOKPOINTS = [
    # The MLP and the whole layer (the residual stream), of the first, a middle and the last layer.
    *(
        (architecture, hookpoint.replace("1", str(layer)).removesuffix(suffix))
        for architecture, hookpoint in MLP.items()
        for layer in range(LAYERS)
        for suffix in ("", ".mlp")
    ),
    # Attentions, which put out tuples.
    ("llama", "layers.1.self_attn"),
    ("gpt_neox", "layers.1.attention"),
    ("gpt2", "h.1.attn"),
    # What goes into a module: a residual stream, one between attention and MLP, and what is in no
    # residual stream.
    ("llama", "layers.1.input"),
    ("llama", "layers.1.post_attention_layernorm.input"),
    ("gemma", "layers.1.pre_feedforward_layernorm.input"),
    ("gpt2", "h.2.ln_2.input"),
    ("llama", "layers.1.mlp.input"),
    ("llama", "layers.1.self_attn.o_proj.input"),
    ("gpt2", "h.1.attn.c_proj.input"),
    # What comes out of a normalisation behind the MLP.
    ("gemma", "layers.1.post_feedforward_layernorm"),
    # What is in no layer: below the first one, and above the last.
    ("llama", "embed_tokens"),
    ("gpt2", "drop"),
    ("gpt_neox", "final_layer_norm"),
    ("gemma", "norm"),
]


CONTEXTS, SEQ = 6, 9


def simulations(of: Setting, raw: Any) -> Simulations:
    """What a simulator says whose raw values are a function of the real activations."""
    where = Protocol.WHOLE.spliced(SEQ, of.first_position)
    assert where == slice(1, SEQ - 1)
    real = of.real(of.latents).at(torch.arange(len(of.tokens))).double().numpy()
    evaluated = raw(real).transpose(2, 0, 1)
    flat = evaluated.reshape(len(of.latents), -1)
    return Simulations(flat, real.transpose(2, 0, 1).reshape(len(of.latents), -1), evaluated)

"""Sites by the names that people give them, in models of many architectures."""

import re

import pytest
import torch
from transformers import AutoConfig, AutoModel

from interp.errors import InputError
from interp.sources.sites import find_site, in_stream, is_stream
from tests import REPOSITORY

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 50,
}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50}
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
VISION |= {"num_attention_heads": 2, "image_size": 28, "patch_size": 14}
CONFIGS = {
    **{
        name: SMALL
        for name in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")
    },
    "olmo": SMALL,
    "olmo2": SMALL,
    "phi": SMALL,
    "gpt_neox": SMALL,
    "gpt2": GPT2,
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50},
    "gpt_neo": {
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "vocab_size": 50,
    },
    "gemma3": {"text_config": SMALL, "vision_config": VISION},
}


def modules(architecture: str) -> list[str]:
    """Paths of the modules of a model without weights."""
    with torch.device("meta"):
        model = AutoModel.from_config(AutoConfig.for_model(architecture, **CONFIGS[architecture]))
    return [name for name, _ in model.named_modules() if name]


LLAMA = {
    "blocks.1.hook_resid_pre": "layers.1.input",
    "blocks.1.hook_resid_mid": "layers.1.post_attention_layernorm.input",
    "blocks.1.hook_resid_post": "layers.1",
    "blocks.1.hook_attn_out": "layers.1.self_attn",
    "blocks.1.attn.hook_z": "layers.1.self_attn.o_proj.input",
    "blocks.1.hook_mlp_out": "layers.1.mlp",
    "blocks.1.mlp.hook_in": "layers.1.mlp.input",
    "blocks.1.mlp.hook_out": "layers.1.mlp",
    "blocks.1.mlp.hook_post": "layers.1.mlp.down_proj.input",
    "blocks.1.ln1.hook_normalized": "layers.1.input_layernorm.normalised",
    "blocks.1.ln2.hook_normalized": "layers.1.post_attention_layernorm.normalised",
    "hook_embed": "embed_tokens",
    "resid_post_layer_1": "layers.1",
    "mlp_out_layer_1": "layers.1.mlp",
    "attn_out_layer_1": "layers.1.self_attn",
    "layers.1.mlp": "layers.1.mlp",
    "model.layers.1.mlp.output": "layers.1.mlp",
    " layers.1.mlp.input": "layers.1.mlp.input",
    "model.layers.1.self_attn.o_proj.input": "layers.1.self_attn.o_proj.input",
}
SANDWICH = LLAMA | {
    "blocks.1.hook_resid_mid": "layers.1.pre_feedforward_layernorm.input",
    "blocks.1.hook_attn_out": "layers.1.post_attention_layernorm",
    "blocks.1.hook_mlp_out": "layers.1.post_feedforward_layernorm",
    "blocks.1.ln2.hook_normalized": "layers.1.pre_feedforward_layernorm.normalised",
    "mlp_out_layer_1": "layers.1.post_feedforward_layernorm",
    "attn_out_layer_1": "layers.1.post_attention_layernorm",
    "model.layers.1.post_feedforward_layernorm.output": "layers.1.post_feedforward_layernorm",
}
OWN = {
    "gpt2": {
        "transformer.h.1.mlp": "h.1.mlp",
        "blocks.1.hook_resid_post": "h.1",
        "blocks.1.hook_resid_mid": "h.1.ln_2.input",
        "blocks.1.hook_mlp_out": "h.1.mlp",
        "blocks.1.hook_attn_out": "h.1.attn",
        "blocks.1.attn.hook_z": "h.1.attn.c_proj.input",
        "blocks.1.ln2.hook_normalized": "h.1.ln_2.normalised",
        "hook_embed": "wte",
    },
    "gpt_neo": {"blocks.1.attn.hook_z": "h.1.attn.attention.out_proj.input"},
    "gpt_neox": {
        "gpt_neox.layers.1.mlp": "layers.1.mlp",
        "blocks.1.hook_attn_out": "layers.1.attention",
        "blocks.1.attn.hook_z": "layers.1.attention.dense.input",
        "blocks.1.ln2.hook_normalized": "layers.1.post_attention_layernorm.normalised",
        "hook_embed": "embed_in",
    },
    "phi": {
        "blocks.1.hook_mlp_out": "layers.1.mlp",
        "blocks.1.attn.hook_z": "layers.1.self_attn.dense.input",
    },
    "olmo2": {
        "blocks.1.hook_mlp_out": "layers.1.post_feedforward_layernorm",
        "blocks.1.hook_resid_mid": "layers.1.mlp.input",
    },
    "gemma3": {
        name: f"language_model.{site}"
        for name, site in SANDWICH.items()
        if not name.startswith("model.")
    }
    | {"model.language_model.layers.1.mlp": "language_model.layers.1.mlp"},
}
KNOWN = {
    **{name: LLAMA for name in ("llama", "mistral", "qwen2", "qwen3", "gemma", "olmo")},
    **{name: SANDWICH for name in ("gemma2", "gemma3_text")},
    **OWN,
}


@pytest.mark.parametrize("architecture", KNOWN)
def test_each_name_is_the_site_that_it_means(architecture: str) -> None:
    there = modules(architecture)
    found = {name: str(find_site(name, there)) for name in KNOWN[architecture]}
    assert found == KNOWN[architecture]
    # A canonical name is a name of its own.
    assert {str(find_site(site, there)) for site in found.values()} == {*found.values()}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("blocks.1.hook_resid_mid", "side by side"),
        ("blocks.9.hook_mlp_out", r"no layer 9. Its layers are layers.0 to layers.\d+\.$"),
        ("blocks.1.hook_q", "knows no hook 'hook_q'"),
        ("layers.1.mpl", "no module 'layers.1.mpl'. Nearest are layers.1.mlp, "),
        ("transformer.h.1.ffn", "no module 'transformer.h.1.ffn'. Its layers are layers.0 to"),
        ("mlp", "no module 'mlp'"),
        ("", "no module ''"),
    ],
)
def test_a_site_that_is_not_there_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        find_site(name, modules("gpt_neox"), parallel=True)


@pytest.mark.parametrize(
    ("column", "architecture", "layer"),
    [(0, "llama", "layers.1"), (1, "gemma2", "layers.1"), (2, "gpt2", "h.1")],
)
def test_the_document_says_what_hooks_mean(column: int, architecture: str, layer: str) -> None:
    text = (REPOSITORY / "docs/coders.md").read_text().partition("## Names of sites")[2]
    rows = re.findall(r"^\| `([\w.]*hook_\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    assert len(rows) == 12
    there = modules(architecture)
    for hook, *cells in rows:
        said = cells[column].strip("`")
        whole = {"the layer's input": f"{layer}.input", "the layer's output": layer}
        if hook == "hook_embed":
            assert str(find_site(hook, there)) == said
        else:
            meant = whole.get(said, f"{layer}.{said}")
            assert str(find_site(f"blocks.1.{hook}", there)) == meant, hook


def test_what_stands_nowhere_by_itself_is_refused() -> None:
    bloom = modules("bloom")
    with pytest.raises(InputError, match="stands nowhere by itself"):
        find_site("blocks.1.hook_mlp_out", bloom)
    assert str(find_site("blocks.1.hook_resid_post", bloom)) == "h.1"
    with pytest.raises(InputError, match="nothing is normalised before the MLP"):
        find_site("blocks.1.ln2.hook_normalized", modules("olmo2"))


@pytest.mark.parametrize(
    ("site", "is_in"),
    [
        ("layers.1", True),
        ("layers.1.input", True),
        ("layers.1.mlp", True),
        ("layers.1.post_attention_layernorm.input", True),
        ("h.1.ln_2.input", True),
        ("embed_tokens", True),
        ("layers.1.self_attn.o_proj.input", False),
        ("layers.1.mlp.down_proj.input", False),
        ("layers.1.mlp.input", False),
        ("layers.1.input_layernorm.normalised", False),
    ],
)
def test_what_is_in_the_residual_stream(site: str, is_in: bool) -> None:
    assert in_stream(site) == is_in


@pytest.mark.parametrize(
    ("site", "between_layers"),
    [
        ("layers.10", True),
        ("model.layers.10.output", True),
        ("transformer.h.3.input", True),
        ("blocks.5.hook_resid_post", True),
        ("blocks.5.hook_resid_pre", True),
        ("resid_post_layer_5", True),
        ("layers.10.mlp", False),
        ("layers.10.mlp.output", False),
        ("layers.10.self_attn.o_proj.input", False),
        ("blocks.5.hook_mlp_out", False),
        ("mlp_out_layer_5", False),
        ("", False),
    ],
)
def test_the_stream_between_two_layers(site: str, between_layers: bool) -> None:
    assert is_stream(site) == between_layers

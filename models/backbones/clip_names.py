"""Hugging Face's names of CLIP's and X-CLIP's entries, to OpenAI's and back.

transformers, ``CLIPModel`` and ``XCLIPModel``: attention split into q, k, v; two projections stored transposed.
"""
from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

State = dict[str, np.ndarray]
_TOWERS = (("visual.transformer.resblocks.", "vision_model.encoder.layers."),
           ("transformer.resblocks.", "text_model.encoder.layers."), ("mit.resblocks.", "mit.encoder.layers."))
_IN_BLOCK = (("message_attn.", "message_attn."), ("message_fc.", "message_fc."), ("message_ln.", "message_ln."),
             ("attn.", "self_attn."), ("ln_1.", "layer_norm1."), ("ln_2.", "layer_norm2."),
             ("mlp.c_fc.", "mlp.fc1."), ("mlp.c_proj.", "mlp.fc2."))
_ELSEWHERE = (
    ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),  # sic, in CLIPModel
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.proj", "visual_projection.weight"), ("text_projection", "text_projection.weight"),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("ln_final.", "text_model.final_layer_norm."), ("logit_scale", "logit_scale"),
    ("mit.positional_embedding", "mit.position_embedding"), ("prompts_visual_ln.", "prompts_visual_layernorm."),
    ("prompts_visual_proj", "prompts_visual_projection"),
    ("prompts_generator.norm.", "prompts_generator.layernorm."), ("prompts_generator.", "prompts_generator."),
)
_TRANSPOSED = ("visual.proj", "text_projection")
_BUFFERS = re.compile(r"position_ids$")
_PACKED = re.compile(r"(.*attn\.)in_proj_(weight|bias)$")
_SPLIT = re.compile(r"(.*attn\.)([qkv])_proj\.(weight|bias)$")


def is_hugging_face(state: Mapping[str, np.ndarray]) -> bool:
    """Whether entries carry transformers' names."""
    return any(name.startswith(("vision_model.", "text_model.")) for name in state)


def from_hugging_face(state: Mapping[str, np.ndarray]) -> State:
    """Entries in OpenAI's (X-CLIP: upstream's) names and layouts.

    Raises:
        ValueError: naming an attention whose q, k and v are not all there.
    """
    found: State = {}
    parts: dict[str, State] = {}
    for theirs, array in state.items():
        if _BUFFERS.search(theirs):
            continue
        name = _renamed(theirs.replace("vision_model.pre_layernorm.", "vision_model.pre_layrnorm."), 1)
        split = _SPLIT.match(name)
        if split and "cross_attn" not in name:
            parts.setdefault(f"{split[1]}in_proj_{split[3]}", {})[split[2]] = array
            continue
        found[name] = array.T if name in _TRANSPOSED else array
    for name, thirds in parts.items():
        if set(thirds) != set("qkv"):
            raise ValueError(f"{name}: of q, k and v only {', '.join(sorted(thirds))} are in the file")
        found[name] = np.concatenate([thirds[third] for third in "qkv"])
    return found


def to_hugging_face(state: Mapping[str, np.ndarray], *, video: bool = False) -> State:
    """The inverse; ``video`` for ``XCLIPModel``, which spells one norm differently."""
    found: State = {}
    for ours, array in state.items():
        packed = _PACKED.match(ours)
        if packed and "cross_attn" not in ours:
            for third, part in zip("qkv", np.split(array, 3), strict=True):
                found[_renamed(f"{packed[1]}{third}_proj.{packed[2]}", 0)] = part
            continue
        name = _renamed(ours, 0)
        if video:
            name = name.replace("pre_layrnorm", "pre_layernorm")
        found[name] = array.T if ours in _TRANSPOSED else array
    return found


def _renamed(name: str, side: int) -> str:
    """``side`` 0: from OpenAI's names; 1: to them."""
    for pair in _TOWERS:
        if name.startswith(pair[side]):
            number, _, rest = name[len(pair[side]):].partition(".")
            for inner in _IN_BLOCK:
                if rest.startswith(inner[side]):
                    return f"{pair[1 - side]}{number}.{inner[1 - side]}{rest[len(inner[side]):]}"
            return f"{pair[1 - side]}{number}.{rest}"
    for pair in _ELSEWHERE:
        whole = not pair[side].endswith(".")
        if (name == pair[side]) if whole else name.startswith(pair[side]):
            return pair[1 - side] + name[len(pair[side]):]
    return name

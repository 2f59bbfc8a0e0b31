"""The PyTorch side of X-CLIP's cases."""
from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases import clip_outputs
from alignment.cases.xclip import twin_training
from alignment.reference import xclip as reference
from alignment.reference import xclip_data as data


def stages(network: str) -> dict:
    """Stage name -> function of a :class:`Run`."""
    return {"forward": forward, "loss": loss, "backward": backward, "train": train, "tokens": data.tokens,
            "sampling": data.sampling, "transform": data.transform, "blending": data.blending, "metric": data.metric,
            "schedule": data.schedule, "short_training": twin_training.mini_training}


def state_entries(manifest: dict) -> list[list]:
    """The network's entries, for manifests that do not list them; nothing for those without a network."""
    return tools.state_entries(reference.XCLIP(**manifest["config"])) if manifest["config"] else []


def build(run: Run) -> reference.XCLIP:
    network = tools.build(lambda: reference.XCLIP(**run.config), run.state, run.dtype)
    if run.config["use_cache"]:
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(any(part in name for part in ("visual.", "mit", "prompts")))
    return network


def forward(run: Run) -> dict[str, np.ndarray]:
    network = run.reading(build)
    image, text = tools.tensors(run.inputs, "image", "text")
    last = len(network.visual.transformer.resblocks) - 1
    names = {"visual.ln_pre": "ln_pre", "visual.transformer.resblocks.0": "block0",
             f"visual.transformer.resblocks.{last}": "block_last", "mit": "video_features",
             "prompts_generator": "prompts"}
    inner = ("visual", "prompts_visual_ln")
    with torch.no_grad():
        with tools.Recorder(network, None if run.wanted is None else ()) as of_text:
            features = network.encode_text(text)
        with tools.Recorder(network, None if run.wanted is None else (*names, *inner)) as recorder:
            logits = network(image, text)
        patches = torch.from_numpy(recorder.arrays["prompts_visual_ln"]) @ network.prompts_visual_proj
    b, t = image.shape[:2]
    made = {name: recorder.arrays[layer] for layer, name in names.items()}
    if last == 0:
        made["block0"] = made["block_last"]
    for name in ("block0", "block_last"):
        made[name] = made[name].transpose(1, 0, 2)  # upstream stores tokens first
    made |= {"cls": recorder.arrays["visual.0"].reshape(b, t, -1),
             "img_features": tools.array(patches).reshape(b, t, -1, patches.shape[-1])}
    text_features = {"text_features": tools.array(features)}
    if run.wanted is None:  # in our side's order of execution, which encodes the classes first
        end, towers = run.inputs["text"].argmax(-1), ("visual.transformer.resblocks", "mit.resblocks")
        of_image = {name: array for name, array in recorder.arrays.items()
                    if not name.startswith(("transformer.", "ln_final"))}
        recorded = clip_outputs.without_message(clip_outputs.twins(of_image, end, towers))
        made = {**clip_outputs.twins(of_text.arrays, end), **text_features, **recorded, **made}
    return {**made, **text_features, "logits": tools.array(logits)}


def _losses(logits, run: Run) -> dict:
    label, target = tools.tensors(run.inputs, "label", "target")
    return {"soft": reference.soft_target_cross_entropy(logits, target),
            "smooth": reference.label_smoothing_cross_entropy(logits, label, 0.1),
            "plain": F.cross_entropy(logits, label)}


def _logits(network, run: Run):
    return network(*tools.tensors(run.inputs, "image", "text"))


def loss(run: Run) -> dict[str, np.ndarray]:
    with torch.no_grad():
        return {name: tools.array(tensor) for name, tensor in _losses(_logits(run.reading(build), run), run).items()}


def backward(run: Run) -> dict[str, np.ndarray]:
    network = run.taking(build)
    total = _losses(_logits(network, run), run)["soft"]
    total.backward()
    found = tools.gradients(network)
    made = {"loss": tools.array(total), **{f"grad:{name}": array for name, array in found.items()}}
    if "token_embedding.weight" in found:
        made["grad_rows:token_embedding.weight"] = found["token_embedding.weight"][np.unique(run.inputs["text"])]
    return made


def train(run: Run) -> dict[str, np.ndarray]:
    spec = run.stage["optimizer"]
    network = build(run).train()
    groups = [{"params": [], "lr": group["lr"], "weight_decay": group["weight_decay"]} for group in spec["groups"]]
    place = {}
    for name, parameter in network.named_parameters():
        place[name] = data.group(name, parameter.ndim) if parameter.requires_grad else -1
        if parameter.requires_grad:
            groups[place[name]]["params"].append(parameter)
    optimizer = torch.optim.AdamW(groups, betas=tuple(spec["betas"]), eps=spec["eps"])
    losses = []
    for _ in range(spec["steps"]):
        optimizer.zero_grad()
        total = _losses(_logits(network, run), run)["soft"]
        total.backward()
        optimizer.step()
        losses.append(total.item())
    order = [name for name, _, _ in run.manifest["state"]]
    return {"losses": np.asarray(losses, run.dtype), "group": np.asarray([place[name] for name in order], np.int64),
            **{f"param:{name}": array for name, array in tools.entries(network).items()}}

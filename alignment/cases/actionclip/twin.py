"""The PyTorch side of ActionCLIP's cases."""
from __future__ import annotations

import numpy as np
import torch

from alignment import torch_tools as tools
from alignment.bundle import Run
from alignment.cases import clip_outputs
from alignment.cases.actionclip import twin_training
from alignment.reference import actionclip as reference
from alignment.reference import actionclip_data as data


def stages(network: str) -> dict:
    """Stage name -> function of a :class:`Run`."""
    return {"forward": forward, "loss": loss, "metric": metric, "backward": backward, "train": train,
            "tokens": data.tokens, "sampling": data.sampling, "transform": data.transform, "schedule": data.schedule,
            "short_training": twin_training.mini_training}


def make(config: dict) -> reference.ActionCLIP:
    """The network of a manifest's config."""
    return reference.ActionCLIP(**{name: value for name, value in config.items() if name != "seg_length"})


def state_entries(manifest: dict) -> list[list]:
    """The network's entries, for manifests that do not list them; nothing for those without a network."""
    return tools.state_entries(make(manifest["config"])) if manifest["config"] else []


def build(run: Run) -> reference.ActionCLIP:
    return tools.build(lambda: make(run.config), run.state, run.dtype)


def _features(network, run: Run):
    images = torch.from_numpy(run.inputs["images"])
    frames = network.encode_image(images.view(-1, 3, *images.shape[2:]))
    return frames, network.encode_video(frames), network.encode_text(torch.from_numpy(run.inputs["texts"]))


def _loss(video, text, labels, scale):
    by_video, by_text = reference.create_logits(video, text, scale)
    truth = reference.gen_label(labels.tolist()).to(video.dtype)
    images, texts = reference.kl_loss(by_video, truth), reference.kl_loss(by_text, truth)
    return {"ground_truth": truth, "logits_per_image": by_video, "loss_images": images, "loss_texts": texts,
            "total": (images + texts) / 2}


def forward(run: Run) -> dict[str, np.ndarray]:
    network = run.reading(build)
    with torch.no_grad(), tools.Recorder(network, None if run.wanted is None else ()) as recorder:
        frames, video, text = _features(network, run)
        by_video, by_text = reference.create_logits(video, text, network.logit_scale.exp())
    made = {"frame_features": frames, "video_features": video, "text_features": text, "logits_per_image": by_video,
            "logits_per_text": by_text}
    blocks = {}
    if run.wanted is None:
        blocks = clip_outputs.twins(recorder.arrays, run.inputs["texts"].argmax(-1), ("module.transformer.resblocks",))
    return {**blocks, **{name: tools.array(tensor) for name, tensor in made.items()}}


def _given_features(run: Run):
    video, text = tools.tensors(run.inputs, "video", "text", gradient=True)
    value = np.asarray(np.float32(run.manifest["stages"]["loss"]["logit_scale"]), run.dtype)
    return video, text, torch.from_numpy(value).requires_grad_(True)


def loss(run: Run) -> dict[str, np.ndarray]:
    if run.manifest["state"]:
        network = run.reading(build)
        with torch.no_grad():
            _, video, text = _features(network, run)
        scale = network.logit_scale
    else:
        video, text, scale = _given_features(run)
    found = _loss(video, text, run.inputs["labels"], scale.exp())
    return {name: tools.array(tensor) for name, tensor in found.items()}


def metric(run: Run) -> dict[str, np.ndarray]:
    spec = run.stage
    with torch.no_grad():
        if run.manifest["state"]:
            network = run.reading(build)
            images = torch.from_numpy(run.inputs["images"])
            video = network.encode_video(network.encode_image(images.view(-1, 3, *images.shape[2:])))
            text = network.encode_text(torch.from_numpy(run.inputs["prompts"]))
        else:
            features, text = tools.tensors(run.inputs, "frame_features", "class_features")
            video = features.view(-1, spec["num_segments"], features.shape[-1]).mean(1)
        similarity = reference.probabilities(video, text, spec["num_text_aug"])
    class_id = run.inputs["class_id"].tolist()
    return {"probabilities": tools.array(similarity),
            **{f"top{k}": np.float64(reference.top(similarity, class_id, k)) for k in (1, 5)}}


def backward(run: Run) -> dict[str, np.ndarray]:
    if not run.manifest["state"]:
        video, text, scale = _given_features(run)
        _loss(video, text, run.inputs["labels"], scale.exp())["total"].backward()
        return {f"input:{name}": tools.array(tensor.grad)
                for name, tensor in (("video", video), ("text", text), ("logit_scale", scale))}
    network = run.taking(build).train(run.stage["mode"] == "train")
    _, video, text = _features(network, run)
    _loss(video, text, run.inputs["labels"], network.logit_scale.exp())["total"].backward()
    found = tools.gradients(network)
    rows = found["token_embedding.weight"][np.unique(run.inputs["texts"])]
    return {"rows:token_embedding.weight": rows, **{f"grad:{name}": array for name, array in found.items()}}


def train(run: Run) -> dict[str, np.ndarray]:
    spec = run.stage
    network = build(run).train(run.stage["mode"] == "train")
    parts: list[list] = [[], [], []]
    for name, parameter in network.named_parameters():
        parts[2 if name.startswith("module.") else 1 if name.startswith("visual.") else 0].append(parameter)
    groups = [{"params": part, "lr": group["lr"]} for part, group in zip(parts, spec["groups"], strict=True)]
    optimizer = torch.optim.AdamW(groups, betas=tuple(spec["betas"]), eps=spec["eps"],
                                  weight_decay=spec["weight_decay"])
    losses, scales = [], []
    for _ in range(spec["steps"]):
        optimizer.zero_grad()
        _, video, text = _features(network, run)
        total = _loss(video, text, run.inputs["labels"], network.logit_scale.exp())["total"]
        total.backward()
        optimizer.step()
        losses.append(total.item())
        scales.append(network.logit_scale.item())
    return {"losses": np.asarray(losses, np.float64), "logit_scale": np.asarray(scales, np.float64),
            **{f"param:{name}": array for name, array in tools.entries(network).items()}}

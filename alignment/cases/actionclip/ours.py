"""The Paddle side of ActionCLIP's cases."""
from __future__ import annotations

import zlib

import numpy as np
import paddle

from alignment import paddle_tools as tools
from alignment import paddle_training
from alignment.bundle import Run
from alignment.cases import clip_outputs
from alignment.streams import LegacyNumpy, PythonRandom
from datasets import actionclip_transforms as transforms
from datasets import color_jitter, multi_scale_crop, rand_augment, segment_sampling
from datasets.labels import sentences
from datasets.tokenizer import SentenceTooLong, tokenizer
from engine.optimization import Group, Optimizer
from engine.schedules import constant
from losses.contrastive import equal_labels, paired_logits, video_text_loss
from metrics.video_text import prompt_probabilities, top_k_percent
from models.actionclip import ActionCLIP, upstream_name
from systems.clip_schedules import actionclip_cosine, actionclip_multistep


def blocks_upstream(name: str) -> str:
    """A layer's name as upstream calls it."""
    return upstream_name(name) if "." in name else name


def stages(network: str) -> dict:
    """Stage name -> function of a :class:`Run`."""
    return {"forward": forward, "loss": loss, "metric": metric, "backward": backward, "train": train,
            "tokens": tokens, "sampling": sampling, "transform": transform, "schedule": schedule,
            "short_training": paddle_training.train}


def build(run: Run) -> ActionCLIP:
    """The network of the manifest's config with the recipe's weights."""
    config = dict(run.config)
    config.pop("seg_length", None)

    def make() -> ActionCLIP:
        return ActionCLIP(fusion=config["sim_header"], segments=config["num_segments"], temporal_shift=config["tsm"],
                          joint=config["joint"], drop_path=config["drop_out"], emb_dropout=config["emb_dropout"],
                          **{name: config[name] for name in _SIZES})
    return tools.build(make, run.state, run.dtype, upstream_name)


_SIZES = ("embed_dim", "image_resolution", "vision_layers", "vision_width", "vision_patch_size", "context_length",
          "vocab_size", "transformer_width", "transformer_heads", "transformer_layers")


def _frames(run: Run):
    images = run.inputs["images"]
    return paddle.to_tensor(images.reshape(len(images), -1, 3, *images.shape[2:]))


def _features(network: ActionCLIP, run: Run):
    frames = _frames(run)
    frame_features = network.encode_frames(frames.flatten(0, 1))
    if network.joint:
        video = frame_features
    else:
        video = network.fusion(frame_features.reshape([-1, network.segments, frame_features.shape[-1]]))
    return frame_features, video, network.encode_text(paddle.to_tensor(run.inputs["texts"]))


def _scale(network):
    return network.clip.logit_scale.exp()


def forward(run: Run) -> dict[str, np.ndarray]:
    network = run.reading(build)
    names = None if run.wanted is None else ()
    with paddle.no_grad(), tools.Recorder(network, blocks_upstream, names) as recorder:
        frames, video, text = _features(network, run)
        by_video, by_text = paired_logits(video, text, _scale(network))
    blocks = clip_outputs.ours(recorder.arrays) if run.wanted is None else {}
    made = {"frame_features": frames, "video_features": video, "text_features": text, "logits_per_image": by_video,
            "logits_per_text": by_text}
    return {**blocks, **{name: tools.array(tensor) for name, tensor in made.items()}}


def _loss_arrays(found: dict, video, text, labels, scale) -> dict[str, np.ndarray]:
    made = {"ground_truth": equal_labels(labels, video.dtype), "logits_per_image": paired_logits(video, text, scale)[0],
            "loss_images": found["images"], "loss_texts": found["texts"], "total": found["total"]}
    return {name: tools.array(tensor) for name, tensor in made.items()}


def loss(run: Run) -> dict[str, np.ndarray]:
    labels = paddle.to_tensor(run.inputs["labels"])
    if not run.manifest["state"]:
        video, text, scale = _given_features(run)
        return _loss_arrays(video_text_loss(video, text, labels, scale.exp()), video, text, labels, scale.exp())
    network = run.reading(build)
    with paddle.no_grad():
        _, video, text = _features(network, run)
        found = video_text_loss(video, text, labels, _scale(network))
        return _loss_arrays(found, video, text, labels, _scale(network))


def _given_features(run: Run):
    video, text = tools.tensors(run.inputs, "video", "text", gradient=True)
    spec = run.manifest["stages"]["loss"]
    scale = paddle.to_tensor(np.asarray(np.float32(spec["logit_scale"]), run.dtype), stop_gradient=False)
    return video, text, scale


def metric(run: Run) -> dict[str, np.ndarray]:
    spec = run.stage
    if run.manifest["state"]:
        network = run.reading(build)
        frames = _frames(run)
        with paddle.no_grad():
            video = network(frames).numpy()
            text = network.encode_text(paddle.to_tensor(run.inputs["prompts"])).numpy()
    else:
        features = run.inputs["frame_features"]
        video = features.reshape(-1, spec["num_segments"], features.shape[-1]).mean(1, dtype=features.dtype)
        text = run.inputs["class_features"]
    probabilities = prompt_probabilities(video, text, spec["num_text_aug"])
    top1, top5 = top_k_percent(probabilities, run.inputs["class_id"])
    return {"probabilities": probabilities, "top1": np.float64(top1), "top5": np.float64(top5)}


def backward(run: Run) -> dict[str, np.ndarray]:
    labels = paddle.to_tensor(run.inputs["labels"])
    if not run.manifest["state"]:
        video, text, scale = _given_features(run)
        video_text_loss(video, text, labels, scale.exp())["total"].backward()
        return {f"input:{name}": tensor.grad.numpy()
                for name, tensor in (("video", video), ("text", text), ("logit_scale", scale))}
    network = run.taking(build)
    if run.stage["mode"] == "train":
        network.train()
    _, video, text = _features(network, run)
    video_text_loss(video, text, labels, _scale(network))["total"].backward()
    found = tools.gradients(network, upstream_name)
    rows = found["token_embedding.weight"][np.unique(run.inputs["texts"])]
    return {"rows:token_embedding.weight": rows, **{f"grad:{name}": array for name, array in found.items()}}


def train(run: Run) -> dict[str, np.ndarray]:
    """Steps of the system's own optimizer on the one batch."""
    spec = run.stage
    network = build(run)
    if run.stage["mode"] == "train":
        network.train()
    text_group, visual_group, head_group = (group["lr"] for group in spec["groups"])
    parts = {"text": {}, "visual": {}, "head": {}}
    for name, parameter in network.named_parameters():
        part = "head" if name.startswith("fusion.") else "visual" if name.startswith("clip.visual.") else "text"
        parts[part][name] = parameter
    rates = {"text": text_group, "visual": visual_group, "head": head_group}
    optimizer = Optimizer([Group(part, parts[part], constant(rates[part]), spec["weight_decay"]) for part in parts],
                          kind="adamw", betas=tuple(spec["betas"]), eps=spec["eps"])
    labels, losses, scales = paddle.to_tensor(run.inputs["labels"]), [], []
    for _ in range(spec["steps"]):
        optimizer.clear_grad()
        _, video, text = _features(network, run)
        total = video_text_loss(video, text, labels, _scale(network))["total"]
        total.backward()
        optimizer.step()
        losses.append(total.item())
        scales.append(network.clip.logit_scale.item())
    return {"losses": np.asarray(losses, np.float64), "logit_scale": np.asarray(scales, np.float64),
            **{f"param:{name}": array for name, array in tools.entries(network, upstream_name).items()}}


def tokens(run: Run) -> dict[str, np.ndarray]:
    tokenize, flat, lengths = tokenizer(), [], []
    for text in run.stage["strings"]:
        try:
            row = tokenize(text)[0]
        except SentenceTooLong:
            lengths.append(0)
            continue
        lengths.append(int(row.argmax()) + 1 if "endoftext" not in text.lower() else len(np.trim_zeros(row, "b")))
        flat.extend(row[:lengths[-1]])
    made = {"flat": np.asarray(flat, np.int64), "lengths": np.asarray(lengths, np.int64)}
    for name, classes in run.stage["class_names"].items():
        table = tokenize(sentences(classes))
        found = zlib.crc32(np.ascontiguousarray(table, "<i8").tobytes())
        if found != run.stage["crc32"].get(name, found):
            raise ValueError(f"the token table of {name} has CRC {found}, the original's is {run.stage['crc32'][name]}")
        made[f"classes:{name}"] = table
    return made


def sampling(run: Run) -> dict[str, np.ndarray]:
    flat, lengths = [], []
    for case in run.stage["cases"]:
        frames, segments = case["num_frames"], case["num_segments"]
        options = {"length": case["seg_length"], "loop": case["loop"]}
        if case["mode"] == "train":
            indices = segment_sampling.actionclip_train(frames, segments, LegacyNumpy(case["seed"]), **options)
        else:
            indices = segment_sampling.actionclip_test(frames, segments, **options)
        flat.extend(indices + case["index_bias"])
        lengths.append(len(indices))
    return {"flat": np.asarray(flat, np.int64), "lengths": np.asarray(lengths, np.int64)}


def transform(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for case in run.stage["cases"]:
        key = case["key"]
        frames = run.inputs[case["input"]] if "input" in case else None
        if key is None:
            _check_draws(case)
        elif key == "crops":
            made[key] = np.asarray([multi_scale_crop.draw_crop(width, height, 112, PythonRandom(seed))
                                    for seed in case["seeds"] for width, height in case["sizes"]], np.int64)
        elif key == "offsets":
            made[key] = np.asarray([multi_scale_crop.thirteen_offsets(*size) for size in case["sizes"]], np.int64)
        elif key == "three_crop_offsets":
            made[key] = np.asarray([transforms.three_offsets(*size) for size in case["sizes"]], np.int64)
        else:
            made[key] = _image_case(case, frames)
    return made


def _image_case(case: dict, frames: np.ndarray) -> np.ndarray:
    kind, _, operation = case["key"].partition(":")
    clip = transforms.images(frames)
    if case["op"].startswith("get_augmentation(False)"):
        return _stacked(transforms.test(frames, case["input_size"])[0])
    if "seed" in case and kind.startswith("train"):
        return _stacked(transforms.train(frames, case["input_size"], PythonRandom(case["seed"]),
                                         flip="something" not in kind))
    if kind.startswith("scale"):
        size = int(kind.removeprefix("scale"))
        return np.stack([np.asarray(transforms.short_side(image, size)) for image in clip])
    if kind == "grayscale":
        return np.stack([np.asarray(color_jitter.grayscale(image)) for image in clip])
    if kind == "solarize":
        return np.stack([np.asarray(rand_augment.operate(image, "Solarize", 128)) for image in clip])
    if kind == "blur":
        return np.stack([np.asarray(transforms.gaussian_blur(image, case["sigma"])) for image in clip])
    if kind == "jitter":
        return np.asarray(color_jitter.adjust(clip[0], operation, case["value"]))
    rng = LegacyNumpy(21)
    return np.asarray(rand_augment.operate(clip[1], operation.split(":")[0], case["value"], rng))


def _stacked(clip: np.ndarray) -> np.ndarray:
    return clip.reshape(-1, *clip.shape[2:])  # T 3 S S -> 3T S S, as upstream stacks


def _check_draws(case: dict) -> None:
    drawn = [rand_augment.draw(PythonRandom(seed), 2) for seed in case["seeds"]]
    if drawn != case["names"]:
        raise ValueError(f"RandAugment draws {drawn}, the original {case['names']}")


def schedule(run: Run) -> dict[str, np.ndarray]:
    spec = run.stage["solver"]
    n = run.stage["iterations"]
    factors = (1.0, spec["ratio"], spec["f_ratio"])
    milestones = list(range(spec["lr_decay_step"], spec["epochs"], spec["lr_decay_step"]))

    def table(make) -> np.ndarray:
        groups = [make(spec["lr"] * factor) for factor in factors]
        return np.asarray([[[group(epoch * n + k) for group in groups] for k in range(n)]
                           for epoch in run.stage["epochs"]], np.float64)
    common = {"warmup": spec["lr_warmup_step"], "steps_per_epoch": n}
    return {"cosine": table(lambda base: actionclip_cosine(base, epochs=spec["epochs"], **common)),
            "multistep": table(lambda base: actionclip_multistep(base, milestones=milestones, **common))}

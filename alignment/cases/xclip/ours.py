"""The Paddle side of X-CLIP's cases."""
from __future__ import annotations

import numpy as np
import paddle

from alignment import paddle_tools as tools
from alignment import paddle_training
from alignment.bundle import Run
from alignment.cases import clip_outputs
from datasets import blending, color_jitter, multi_scale_crop, segment_sampling
from datasets import xclip_transforms as transforms
from datasets.labels import read_labels
from datasets.tokenizer import tokenizer
from engine.optimization import Group, Optimizer
from engine.schedules import constant
from losses.classification import smoothed_cross_entropy
from losses.soft_target import soft_target_cross_entropy
from metrics.video_text import summed_views, top_k_percent
from models.xclip import XCLIP, frozen_with_text, upstream_name
from systems.clip_schedules import xclip_by_update, xclip_cosine
from systems.xclip_groups import GROUPS, group_index

LABEL_LISTS = ("kinetics_400", "kinetics_600", "hmdb_51", "ucf_101")


def stages(network: str) -> dict:
    """Stage name -> function of a :class:`Run`."""
    return {"forward": forward, "loss": loss, "backward": backward, "train": train, "tokens": tokens,
            "sampling": sampling, "transform": transform, "blending": blend, "metric": metric, "schedule": schedule,
            "short_training": paddle_training.train}


def build(run: Run) -> XCLIP:
    """The network of the manifest's config with the recipe's weights; a frozen text side has no gradient."""
    config = run.config
    sizes = ("embed_dim", "image_resolution", "vision_layers", "vision_width", "vision_patch_size", "context_length",
             "vocab_size", "transformer_width", "transformer_heads", "transformer_layers", "mit_layers",
             "prompts_layers", "prompts_alpha")

    def make() -> XCLIP:
        return XCLIP(frames=config["T"], drop_path=config["droppath"], **{name: config[name] for name in sizes})
    network = tools.build(make, run.state, run.dtype, upstream_name)
    if config["use_cache"]:
        for name, parameter in network.named_parameters():
            parameter.stop_gradient = frozen_with_text(name)
    return network


def _logits(network: XCLIP, run: Run):
    image, text = tools.tensors(run.inputs, "image", "text")
    return network(image, network.encode_text(text))


def forward(run: Run) -> dict[str, np.ndarray]:
    network = run.reading(build)
    image, text = tools.tensors(run.inputs, "image", "text")
    last = len(network.visual.transformer.resblocks) - 1
    names = {"visual.ln_pre": "ln_pre", "visual.transformer.resblocks.0": "block0",
             f"visual.transformer.resblocks.{last}": "block_last", "mit": "video_features",
             "prompts_generator": "prompts"}
    with paddle.no_grad():
        with tools.Recorder(network, names=None if run.wanted is None else ()) as of_text:
            features = network.encode_text(text)
        with tools.Recorder(network, names=None if run.wanted is None else names) as recorder:
            logits = network(image, features)
        tokens_last = paddle.to_tensor(recorder.arrays[f"visual.transformer.resblocks.{last}"])
        made = {name: recorder.arrays[layer] for layer, name in names.items()}
        if last == 0:
            made["block0"] = made["block_last"]
        made["cls"] = network.class_features(tokens_last).numpy()
        made["img_features"] = network.patch_features(tokens_last).numpy()
    text_features = {"text_features": features.numpy()}
    if run.wanted is None:  # in order of execution
        made = {**clip_outputs.ours(of_text.arrays), **text_features, **clip_outputs.ours(recorder.arrays), **made}
    return {**made, **text_features, "logits": logits.numpy()}


def _losses(logits, run: Run) -> dict:
    label, target = tools.tensors(run.inputs, "label", "target")
    return {"soft": soft_target_cross_entropy(logits, target), "smooth": smoothed_cross_entropy(logits, label, 0.1),
            "plain": smoothed_cross_entropy(logits, label)}


def loss(run: Run) -> dict[str, np.ndarray]:
    with paddle.no_grad():
        return {name: tensor.numpy() for name, tensor in _losses(_logits(run.reading(build), run), run).items()}


def backward(run: Run) -> dict[str, np.ndarray]:
    network = run.taking(build)
    total = _losses(_logits(network, run), run)["soft"]
    total.backward()
    found = tools.gradients(network, upstream_name)
    made = {"loss": total.numpy(), **{f"grad:{name}": array for name, array in found.items()}}
    if "token_embedding.weight" in found:
        made["grad_rows:token_embedding.weight"] = found["token_embedding.weight"][np.unique(run.inputs["text"])]
    return made


def train(run: Run) -> dict[str, np.ndarray]:
    """Steps of the system's own groups on the one batch; ``group`` names each entry's group in upstream's order."""
    spec = run.stage["optimizer"]
    network = build(run)
    network.train()
    grouped: list[dict] = [{} for _ in GROUPS]
    place = {}
    for name, parameter in network.named_parameters():
        place[upstream_name(name)] = -1 if parameter.stop_gradient else group_index(name, parameter.ndim)
        if not parameter.stop_gradient:
            grouped[group_index(name, parameter.ndim)][name] = parameter
    optimizer = Optimizer([Group(str(index), members, constant(given["lr"]), given["weight_decay"])
                           for index, (members, given) in enumerate(zip(grouped, spec["groups"], strict=True))],
                          kind="adamw", betas=tuple(spec["betas"]), eps=spec["eps"])
    losses = []
    for _ in range(spec["steps"]):
        optimizer.clear_grad()
        total = _losses(_logits(network, run), run)["soft"]
        total.backward()
        optimizer.step()
        losses.append(total.item())
    order = [name for name, _, _ in run.manifest["state"]]
    return {"losses": np.asarray(losses, run.dtype), "group": np.asarray([place[name] for name in order], np.int64),
            **{f"param:{name}": array for name, array in tools.entries(network, upstream_name).items()}}


def tokens(run: Run) -> dict[str, np.ndarray]:
    tokenize = tokenizer()
    made = {"ids": tokenize(run.stage["names"])}
    for name in LABEL_LISTS:
        table = tokenize(read_labels(name))
        made[f"end_{name}"], made[f"sum_{name}"] = table.argmax(-1), table.sum(-1)
    return made


class _Given:
    """Stands for a generator: ``integers(0, n, size)`` is floor(u * n) of the next given row."""

    def __init__(self, rows: np.ndarray):
        self.rows = iter(rows)

    def integers(self, low: int, high: int, size: int) -> np.ndarray:
        return np.floor(next(self.rows)[:size] * high).astype(np.int64)


def sampling(run: Run) -> dict[str, np.ndarray]:
    u, made = run.inputs["u"], {}
    for frames, count in run.stage["cases"]:
        made[f"test_{frames}_{count}"] = segment_sampling.xclip_test(frames, count)
        made[f"train_{frames}_{count}"] = segment_sampling.xclip_train(frames, count, _Given(u))
        views = segment_sampling.xclip_views(frames, count, 4, _Given(u))
        made[f"multiview4_{frames}_{count}"] = views.reshape(-1)
    return made


def transform(run: Run) -> dict[str, np.ndarray]:
    frames, size = run.inputs["frames"], 224
    resized = transforms.short_side(frames, int(256 / 224 * size))
    height, width = resized.shape[1:3]
    crop_width, crop_height = multi_scale_crop.crop_sizes(width, height, size)[4]
    x, y = multi_scale_crop.five_offsets(width, height, crop_width, crop_height)[1]
    box = [x, y, x + crop_width, y + crop_height]
    # The choices are the manifest's: candidate size 4, place 1.
    scaled = transforms.multi_scale_crop(resized, size, _Chosen([4, 1]))
    flipped = transforms.flip(scaled)
    steps = [[(color_jitter.OPERATIONS[i], frame[color_jitter.OPERATIONS[i]]) for i in frame["order"]]
             for frame in run.stage["jitter"]]
    colored = transforms.color(flipped, steps)
    three = transforms.test(frames, size, crops=3)
    return {"resize": resized, "center": transforms.test(frames, size)[0], "three": three.reshape(-1, *three.shape[2:]),
            "crop_box": np.asarray(box, np.int64), "multiscale": scaled, "flip": flipped, "jitter": colored,
            "gray": transforms.grayscale(colored), "train": transforms.normalized(colored)}


class _Chosen:
    """Stands for a generator whose next integers are given."""

    def __init__(self, numbers: list[int]):
        self.numbers = iter(numbers)

    def integers(self, low: int, high: int) -> int:
        return next(self.numbers)


def blend(run: Run) -> dict[str, np.ndarray]:
    spec, images = run.stage, run.inputs["blend_images"]
    target = blending.smoothed_one_hot(run.inputs["blend_label"], spec["classes"], 0.1)
    order = np.asarray(spec["permutation"])
    mixed = blending.mixup(images, target, spec["lam_mixup"], order)
    cut = blending.cutmix(images, target, spec["lam_cutmix"], order, tuple(spec["centre"]))
    return {"mixup_images": mixed[0], "mixup_label": mixed[1], "cutmix_images": cut[0], "cutmix_label": cut[1]}


def metric(run: Run) -> dict[str, np.ndarray]:
    similarity = summed_views(run.inputs["views"])
    top1, top5 = top_k_percent(similarity, run.inputs["label"])
    return {"similarity": similarity, "top1": np.float64(top1), "top5": np.float64(top5)}


def schedule(run: Run) -> dict[str, np.ndarray]:
    spec = run.stage
    rates = [xclip_cosine(base, floor=spec["lr"] / 100, epochs=spec["epochs"], warmup=spec["warmup"],
                          steps_per_epoch=spec["iters"]) for base in (spec["lr"], spec["lr"] * 10)]
    batches = spec["epochs"] * spec["iters"]

    def table(functions, count: int) -> np.ndarray:
        return np.asarray([[function(index) for function in functions] for index in range(count)], np.float64)
    made = {"rates": table(rates, batches + 3)}
    for accumulate in (1, spec["accumulation"]):
        by_update = [xclip_by_update(rate, accumulate, steps_per_epoch=spec["iters"]) for rate in rates]
        updates = spec["iters"] // accumulate * spec["epochs"]
        made[f"used_accumulation{accumulate}"] = table(by_update, updates)
    return made

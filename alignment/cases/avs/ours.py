"""The Paddle side of the AVSBench cases."""
from __future__ import annotations

import io
import re

import cv2
import numpy as np
import paddle
from PIL import Image

from alignment import paddle_tools as tools
from alignment import paddle_training, short_training
from alignment.bundle import Run
from alignment.cases.avs import (
    block_inputs,
    block_runs,
    block_state,
    in_twos,
    metric_inputs,
    network_arguments,
    of_first_frames,
    vggish_widths,
)
from datasets import log_mel
from datasets.avsbench import SECOND_FRAME, normalised, read_mask, second_frames
from datasets.resampling import kaiser_best
from engine.optimization import Group, Optimizer
from losses.audio_visual import mask_loss, sound_loss_ms3, sound_loss_s4
from metrics import audio_visual as metrics
from models import conversion
from models.avs import TPAVI, AVSNet, upstream_name
from models.backbones.vggish import VGGish, postprocess
from systems.avs import AVS

# Layers of ours that are functions in the original.
OURS_ONLY = re.compile(r"\.(drop_path|mlp\.dwconv|upscale|relu|maxpool)(#\d+)?$")


def stages(network: str) -> dict:
    if network == "vggish":
        return {"forward": vggish_forward, "backward": vggish_backward, "train": vggish_train,
                "postprocess": vggish_postprocess, "mel": mel}
    return {"forward": forward, "metric": metric, "loss": loss, "backward": backward,
            "backward_train": backward_train, "train": train, "sampling": sampling, "transform": transform,
            "short_training": mini_training}


def build(run: Run) -> AVSNet:
    return tools.build(lambda: AVSNet(**network_arguments(run.config)), run.state, run.dtype, upstream_name)


def forward(run: Run) -> dict[str, np.ndarray]:
    if "blocks" in run.config:
        return blocks(run, gradients=False)
    suffix = "224" if run.name == "forward_full" else ""
    network = build(run)
    image, audio = tools.tensors(run.inputs, f"image{suffix}", f"audio{suffix}")
    with paddle.no_grad(), tools.Recorder(network, lambda name: upstream_name(f"{name}.").rstrip(".")) as recorder:
        pred, maps, sounds = network(image, audio)
    made = {}
    if run.wanted is None:
        made = {name: value for name, value in recorder.arrays.items() if not OURS_ONLY.search(name)}
    made["pred"] = pred.numpy()
    for k in range(4):
        made[f"v{k + 1}"] = maps[k].numpy()
        if sounds[k] is not None:
            made[f"a{k + 1}"] = sounds[k].numpy()
    return made


def vggish_of(system: AVS) -> VGGish:
    """The frozen ears of a run, which training needs beside the network."""
    return system.listener.vggish


def mini_training(run: Run) -> dict[str, np.ndarray]:
    def ready(system: AVS, material: short_training.Material, run: Run) -> None:
        vggish_of(system).to(dtype=run.dtype)
        conversion.load(vggish_of(system), material.companions["vggish"]["ours"], "the prepared weights")
    return paddle_training.train(run, ready)


def loss_of(task, pred, mask, sounds, maps, *, sa_loss_flag, count_stages=(), lambda_1=0.0, mask_pooling_type="avg",
            norm_fea=True, threshold=False, closer_flag=False, euclidean_flag=False, kl_flag=False):
    """total, iou_loss, sa_loss with the original's flags as arguments of our losses."""
    iou = mask_loss(pred, mask, task)
    if not sa_loss_flag:
        return iou, iou, paddle.zeros([], pred.dtype)
    common = {"stages": count_stages, "pooling": mask_pooling_type}
    if task == "S4":
        sa = sound_loss_s4(pred, sounds, maps, **common)
    else:
        distance = "euclidean" if euclidean_flag else "kl" if kl_flag else "none"
        sa = sound_loss_ms3(pred, sounds, maps, distance=distance, normalise=norm_fea, threshold=threshold,
                            closer=closer_flag, **common)
    return iou + lambda_1 * sa, iou, sa


def run_loss(run: Run, network: AVSNet):
    image, audio, mask = tools.tensors(run.inputs, "image", "audio", "mask")
    image.stop_gradient = run.wanted is not None
    pred, maps, sounds = network(image, audio)
    return (image, pred, *loss_of(run.config["task"], pred, mask, sounds, maps, **run.config["loss"]))


def backward(run: Run, training: bool = False) -> dict[str, np.ndarray]:
    if "blocks" in run.config:
        return blocks(run, gradients=True)
    if "combos" in run.config:
        return loss_backward(run)
    network = build(run)
    if training:
        network.train()
    image, pred, total, iou, sa = run_loss(run, network)
    total.backward()
    made = {"loss": total.numpy(), "iou_loss": np.float64(iou.item()), "sa_loss": np.float64(sa.item()),
            "pred": pred.numpy()}
    made.update({f"grad:{name}": gradient for name, gradient in tools.gradients(network, upstream_name).items()})
    if training:
        made.update({f"buffer:{name}": value for name, value in tools.entries(network, upstream_name).items()
                     if "running_" in name})
    if run.wanted is None:
        made["grad:image"] = image.grad.numpy()
    return made


def backward_train(run: Run) -> dict[str, np.ndarray]:
    return backward(run, training=True)


def train(run: Run) -> dict[str, np.ndarray]:
    network = build(run)
    network.train()
    optimizer, losses = _adam(network, run.stage), []
    for _ in range(run.stage["steps"]):
        total = run_loss(run, network)[2]
        total.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(total.item())
    return {"losses": np.array(losses),
            **{f"state:{name}": value for name, value in tools.entries(network, upstream_name).items()}}


def _adam(network, options: dict) -> Optimizer:
    return Optimizer([Group("all", network.named_parameters(), lambda update: options["lr"], options["weight_decay"])],
                     kind="adam", betas=tuple(options["betas"]), eps=options["eps"])


def blocks(run: Run, gradients: bool) -> dict[str, np.ndarray]:
    """TPAVI blocks alone; each run begins at the recipe's state."""
    made = {}
    for name, kind, mode in block_runs(run):
        options, key = run.config["blocks"][name], f"{name}.{kind}.{mode}"
        block = tools.build(lambda options=options: TPAVI(**options), block_state(run, name), run.dtype)
        if mode == "train":
            block.train()
        x, weight = tools.tensors(run.inputs, *block_inputs(options))
        audio, audio_weight = tools.tensors(run.inputs, "audio", "audio_weight")
        x.stop_gradient = False
        z, sound = block(x, audio) if kind == "va" else block(x)
        if not gradients:
            made[f"{key}.z"] = z.numpy()
            if kind == "va":
                made[f"{key}.audio"] = sound.numpy()
            if mode == "train" and options["bn_layer"]:
                made[f"{key}.running_mean"] = block.W_z[1]._mean.numpy()
                made[f"{key}.running_var"] = block.W_z[1]._variance.numpy()
            continue
        value = (z * weight).mean() + ((sound * audio_weight).mean() if kind == "va" else 0)
        value.backward()
        made[f"{key}.loss"], made[f"{key}.grad:x"] = value.numpy(), x.grad.numpy()
        made.update({f"{key}.grad:{name}.{entry}": array for entry, array in tools.gradients(block).items()})
    return made


def _combination(run: Run, name: str, gradient: bool = False):
    options = dict(run.config["combos"][name])
    task = options.pop("task")
    pred, = tools.tensors(run.inputs, "pred", gradient=gradient)
    mask, = tools.tensors(run.inputs, "mask")
    sounds = tools.tensors(run.inputs, "a1", "a2", "a3", "a4", gradient=gradient)
    maps = tools.tensors(run.inputs, "v1", "v2", "v3", "v4", gradient=gradient)
    if task == "S4":
        mask = of_first_frames(mask, pred, sounds[0])
    return pred, sounds, maps, loss_of(task, pred, mask, sounds, maps, **options)


def loss(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for name in run.config["combos"]:
        with paddle.no_grad():
            values = _combination(run, name)[3]
        made[name] = np.array([value.item() for value in values])
    return made


def loss_backward(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for name in run.config["combos"]:
        pred, sounds, maps, (total, _, _) = _combination(run, name, gradient=True)
        total.backward()
        for key, tensor in (("pred", pred), ("a2", sounds[1]), ("v2", maps[1])):
            if tensor.grad is not None:
                made[f"{name}.grad:{key}"] = tensor.grad.numpy()
    return made


def metric(run: Run) -> dict[str, np.ndarray]:
    if run.manifest["state"]:
        pred, target = forward(run)["pred"][:, 0], run.inputs["mask"][:, 0]
        target = np.repeat(target, len(pred) // len(target), 0)
        return {"mask_iou": np.asarray(metrics.mask_iou(pred, target), run.dtype),
                "f_measure": np.float64(metrics.f_measure(pred, target))}
    logits, gt, soft = metric_inputs(run)
    average = metrics.BatchAverage()
    for batch in in_twos(len(gt)):
        average.update(logits[batch], gt[batch])
    silent = np.zeros_like(gt)
    precision, recall = metrics.precision_recall(metrics.sigmoid(logits[0]), gt[0])
    frames = [slice(i, i + 1) for i in range(len(gt))]
    return {
        "mask_iou": np.float32(metrics.mask_iou(logits, gt)), "f_measure": np.float64(metrics.f_measure(logits, gt)),
        "mask_iou_by_frame": metrics.frame_ious(logits, gt),
        "f_measure_by_frame": np.array([metrics.f_measure(logits[i], gt[i]) for i in frames]),
        "mask_iou_batches_of_2": np.float64(average.values()["miou"]),
        "f_measure_batches_of_2": np.float64(average.values()["f_score"]),
        "mask_iou_all_empty": np.float32(metrics.mask_iou(logits, silent)),
        "f_measure_all_empty": np.float64(metrics.f_measure(logits, silent)),
        "mask_iou_soft_target": np.float32(metrics.mask_iou(logits, soft)),
        "precision_frame0": precision, "recall_frame0": recall, "thresholds": metrics.thresholds()}


def sampling(run: Run) -> dict[str, np.ndarray]:
    made = {}
    for key in run.wanted or run.stage["keys"]:
        fps, frames = key.split("_")
        made[key] = np.array(second_frames(float(fps), int(frames), 5, place=SECOND_FRAME), "int64")
    return made


def transform(run: Run) -> dict[str, np.ndarray]:
    image = run.inputs["image"]
    made = {"resize_224": cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR), "image": normalised(image)}
    gray = Image.fromarray((run.inputs["gray_mask"] * 255).astype(np.uint8))
    palette = gray.copy()
    palette.putpalette([value for value in range(256) for _ in range(3)])
    stored = {"L": gray, "1": gray.convert("1"), "RGB": gray.convert("RGB"), "Pgray": palette}
    for name, picture in stored.items():
        for mode in ("P", "1"):
            file = io.BytesIO()
            picture.save(file, "PNG")
            file.seek(0)
            made[f"mask_{name}_as_{mode}"] = read_mask(file, mode, "original")
    return made


def mel(run: Run) -> dict[str, np.ndarray]:
    """Float waves go in as they are; int16 waves are what a 16-bit file holds."""
    made = {"matrix": log_mel.mel_matrix(), "window": log_mel.hann()}
    for name, wave in run.inputs.items():
        if not name.startswith("wave_"):
            continue
        rate = int(name.split("_")[1])
        if wave.dtype == np.int16:
            patches = log_mel.log_mel_patches(wave / 32768.0)[:, None].astype(np.float32)
            made[name], made[f"{name}.pkl"] = patches, log_mel.fit_patches(patches, 5)
            continue
        if rate != log_mel.RATE:
            wave = made[f"{name}.resampled"] = kaiser_best(wave, rate, log_mel.RATE)
        made[name] = log_mel.log_mel_patches(wave)
    return made


def build_vggish(run: Run) -> VGGish:
    return tools.build(lambda: VGGish(widths=vggish_widths(run), hidden=run.state["embeddings.0.bias"].size),
                       run.state, run.dtype)


def vggish_forward(run: Run) -> dict[str, np.ndarray]:
    network = build_vggish(run)
    with paddle.no_grad(), tools.Recorder(network, names=["features"]) as recorder:
        embedding = network(*tools.tensors(run.inputs, "logmel"))
    return {**recorder.arrays, "embedding": embedding.numpy()}


def _vggish_loss(run: Run, network: VGGish):
    log_mels, target = tools.tensors(run.inputs, "logmel", "target")
    return ((network(log_mels) - target) ** 2).mean()


def vggish_backward(run: Run) -> dict[str, np.ndarray]:
    network = build_vggish(run)
    value = _vggish_loss(run, network)
    value.backward()
    return {"loss": value.numpy(), **{f"grad:{name}": g for name, g in tools.gradients(network).items()}}


def vggish_train(run: Run) -> dict[str, np.ndarray]:
    network = build_vggish(run)
    optimizer, losses = _adam(network, run.stage), []
    for _ in range(run.stage["steps"]):
        value = _vggish_loss(run, network)
        value.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(value.item())
    return {"losses": np.array(losses), **{f"state:{name}": value for name, value in tools.entries(network).items()}}


def vggish_postprocess(run: Run) -> dict[str, np.ndarray]:
    embedding, vectors, means = tools.tensors(run.inputs, "embedding", "pca_eigen_vectors", "pca_means")
    return {"quantised": postprocess(embedding, vectors, means).numpy(),
            "one": postprocess(embedding[:1], vectors, means).numpy()}

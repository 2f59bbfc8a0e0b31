"""Where the trainings start: ImageNet and Pascal VOC weights brought into networks with further input channels.

All functions take and give arrays under *upstream's* names; :mod:`models.conversion` does the rest.
"""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np

State = dict[str, np.ndarray]


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows (or columns, whichever are fewer) of ``[shape[0], rest]`` orthonormal, as ``torch.nn.init.orthogonal_``."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    draw = rng.normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(draw)
    q = q * np.sign(np.diag(r))
    return (q if rows >= columns else q.T).reshape(shape).astype(np.float32)


def widened(weight: np.ndarray, channels: int, rng: np.random.Generator) -> np.ndarray:
    """A first convolution ``[out, in, kh, kw]`` with further input channels, which start orthogonal.

    Raises:
        ValueError: if it has more than ``channels`` already.
    """
    out, have, *kernel = weight.shape
    if have > channels:
        raise ValueError(f"the first convolution has {have} input channels, the network {channels}: weights of the "
                         "two-object form do not fit the single-object form (stage 0)")
    if have == channels:
        return weight
    return np.concatenate([weight, orthogonal(rng, (out, channels - have, *kernel))], 1)


def propagation_from_imagenet(imagenet: Mapping[str, np.ndarray], base: Mapping[str, np.ndarray],
                              rng: np.random.Generator) -> State:
    """Both encoders from one torchvision ResNet; ``base`` (upstream names) gives all that such a file lacks.

    The memory encoder's biases, absent in the file, are zero.
    """
    state = dict(base)
    for name in base:
        for prefix in ("rgb_encoder.", "mask_rgb_encoder."):
            if not name.startswith(prefix):
                continue
            plain = name.removeprefix(prefix).replace("res2.", "layer1.")
            if plain in imagenet:
                state[name] = imagenet[plain]
            elif name.endswith("bias"):
                state[name] = np.zeros_like(base[name])
    name = "mask_rgb_encoder.conv1.weight"
    state[name] = widened(np.asarray(imagenet["conv1.weight"]), base[name].shape[1], rng)
    return state


def propagation_from_nothing(base: Mapping[str, np.ndarray], rng: np.random.Generator) -> State:
    """Both encoders from the query encoder's random weights, and both key projections alike: like finds like from the
    first update on, as it does where both come from one ImageNet file.

    The last norm of every residual block starts at 0 (Goyal et al., 2017): the blocks add nothing yet, so a feature
    still tells what is near its place, colour and mask, which random blocks would mix with the whole image.
    """
    prefix = "rgb_encoder."
    own = {name.removeprefix(prefix).replace("res2.", "layer1."): value for name, value in base.items()
           if name.startswith(prefix)}
    last = "bn3.weight" if any(name.endswith(".bn3.weight") for name in own) else "bn2.weight"
    own |= {name: np.zeros_like(value) for name, value in own.items() if name.endswith("." + last)}
    own_base = {**base, **{prefix + name.replace("layer1.", "res2."): own[name] for name in own}}
    state = propagation_from_imagenet(own, own_base, rng)
    for kind in ("weight", "bias"):
        state[f"kv_m_f16.key_proj.{kind}"] = base[f"kv_q_f16.key_proj.{kind}"]
    return state


def propagation_from_stage0(state: Mapping[str, np.ndarray], channels: int, rng: np.random.Generator) -> State:
    """Single-object weights for the two-object form: the mask of the others is a new channel."""
    name = "mask_rgb_encoder.conv1.weight"
    return {**state, name: widened(np.asarray(state[name]), channels, rng)}


def s2m_from_voc(voc: Mapping[str, np.ndarray], num_classes: int, rng: np.random.Generator) -> State:
    """A Pascal VOC DeepLabV3+ ResNet-50 of VainF/DeepLabV3Plus-Pytorch: six input channels, a new class convolution."""
    state = dict(voc)
    state["backbone.conv1.weight"] = widened(np.asarray(voc["backbone.conv1.weight"]), 6, rng)
    weight = np.asarray(voc["classifier.classifier.3.weight"])
    state["classifier.classifier.3.weight"] = orthogonal(rng, (num_classes, *weight.shape[1:]))
    state["classifier.classifier.3.bias"] = np.zeros(num_classes, np.float32)
    return state

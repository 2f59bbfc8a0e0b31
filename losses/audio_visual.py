"""AVSBench's losses: binary cross entropy of the masks and the semantic-aware loss between sound and map.

Original: OpenNLPLab/AVSBench f7414af, ``avs_s4/loss.py`` and ``avs_ms3/loss.py``. N = B * T frames, C channels.
"""
from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F


def mask_loss(logits, mask, task: str):
    """Mean binary cross entropy of ``sigmoid(logits) [N, 1, H, W]``.

    The logarithm stops at -100 and the gradient fades where float32's sigmoid is 0 or 1, as in the original;
    cross entropy on logits would not.

    Args:
        mask: MS3: ``[N, 1, H, W]`` (or ``[B, T, 1, H, W]``). S4: the first frame of each video only, ``[B, 1, H, W]``
            (or ``[B, 1, 1, H, W]``).

    Raises:
        ValueError: if frames and masks do not fit.
    """
    mask = mask.reshape([-1, *mask.shape[-3:]])
    if task == "S4":
        if logits.shape[0] % mask.shape[0]:
            raise ValueError(f"{logits.shape[0]} frames are no whole number of videos for {mask.shape[0]} masks")
        logits = logits[::logits.shape[0] // mask.shape[0]]
    if logits.shape != mask.shape:
        raise ValueError(f"{task}: predictions {logits.shape} and masks {mask.shape} differ")
    return F.binary_cross_entropy(F.sigmoid(logits), mask)


def sound_loss_s4(logits, sounds: Sequence, maps: Sequence, *, stages: Sequence[int], pooling: str = "avg"):
    """-log of the cosine between the sound and the map under the predicted mask; mean over frames and stages.

    Args:
        logits: ``[N, 1, H, W]``; only which pixels are above one half counts, so they get no gradient.
        sounds: per stage ``[B, T, C]``. maps: per stage ``[N, C, h, w]``, rectified.
    """
    terms = []
    for sound, x in _of_stages(sounds, maps, stages):
        inside = (pool(F.sigmoid(logits), x.shape[2:], pooling) > 0.5).astype(x.dtype)
        u = (x * inside).sum([2, 3]) / (inside.sum([2, 3]) + 1e-6)
        cosine = (F.normalize(u, axis=-1) * F.normalize(sound, axis=-1)).sum(-1)
        terms.append((-paddle.log(F.relu(cosine) + 1e-6)).mean())
    return sum(terms) / len(terms)


def sound_loss_ms3(logits, sounds: Sequence, maps: Sequence, *, stages: Sequence[int], pooling: str = "avg",
                   distance: str = "kl", normalise: bool = False, threshold: bool = False, closer: bool = False):
    """Distance between the sound and the map weighted by the predicted mask; mean over stages.

    Args:
        logits, sounds, maps: as for S4; here the gradient reaches the logits too.
        distance: ``kl`` (summed over frames and channels, so it grows with the batch) or ``euclidean`` (mean).
        normalise: bring both to length 1 first.
        threshold: weigh by 0 and 1 instead of by probability.
        closer: instead of the sound take the map of the frame with the most similar sound; ignores ``threshold``.

    Raises:
        ValueError: for an unknown distance.
    """
    terms = []
    for sound, x in _of_stages(sounds, maps, stages):
        weight = F.sigmoid(pool(logits, x.shape[2:], pooling))
        if threshold and not closer:
            # The original counts in float32 whatever the dtype; the count plus 1e-6 is rounded there.
            inside = (weight > 0.5).astype("float32")
            u = (x * inside.astype(x.dtype)).sum([2, 3]) / (inside.sum([2, 3]) + 1e-6).astype(x.dtype)
        else:
            u = (x * weight).mean([2, 3])  # over all pixels, not over the mask
        if normalise:
            sound, u = F.normalize(sound, axis=-1), F.normalize(u, axis=-1)
        target = u[closest(sound)] if closer else sound
        terms.append(_distance(target, u, distance))
    return sum(terms) / len(terms)


def closest(sound):
    """For each row of ``[N, C]`` the index of the row at the smallest distance, itself counting as 10 away.

    Differences are formed directly: a matrix product (PyTorch's way above 25 rows) blurs near ties.
    """
    with paddle.no_grad():
        rows = sound.detach()
        distance = ((rows.unsqueeze(1) - rows.unsqueeze(0)) ** 2).sum(-1).sqrt()
        return (distance + 10 * paddle.eye(rows.shape[0], dtype=rows.dtype)).argmin(0)


def pool(x, size, kind: str):
    """Adaptive average or maximum pooling of ``[N, 1, H, W]`` to ``size``."""
    if kind not in ("avg", "max"):
        raise ValueError(f"pooling {kind!r}: expected avg or max")
    return (F.adaptive_avg_pool2d if kind == "avg" else F.adaptive_max_pool2d)(x, size)


def _distance(target, u, kind: str):
    if kind == "euclidean":  # 1e-6 on every component, as torch.pairwise_distance
        return ((target - u + 1e-6) ** 2).sum(-1).sqrt().mean()
    if kind == "kl":  # written out: Paddle's kl_div gives the target no gradient; log of softmax as the original
        q = F.softmax(target, axis=-1)
        return (q * (paddle.log(q) - paddle.log(F.softmax(u, axis=-1)))).sum()
    raise ValueError(f"distance {kind!r}: expected kl or euclidean (the original's kl_flag, euclidean_flag)")


def _of_stages(sounds, maps, stages):
    if not len(stages):
        raise ValueError("the semantic-aware loss needs at least one stage (count_stages)")
    for stage in stages:
        if sounds[stage] is None:
            raise ValueError(f"the semantic-aware loss counts stage {stage}, which has no sound: put it into "
                             "tpavi_stages and switch va on")
        yield sounds[stage].reshape([-1, sounds[stage].shape[-1]]), maps[stage]

"""AVSBench's losses and metrics in PyTorch, branch by branch and threshold by threshold as the original runs them.

OpenNLPLab/AVSBench f7414af: ``avs_s4/loss.py``, ``avs_ms3/loss.py``, ``utils/utility.py``.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F


def loss_with_audio(task, pred, mask, audio_features, maps, *, sa_loss_flag, count_stages=(), lambda_1=0.0, **flags):
    """total, iou_loss, sa_loss of ``IouSemanticAwareLoss`` of either script folder."""
    T = pred.shape[0] // mask.shape[0] if task == "S4" else 1
    if task == "S4":
        first = pred[::T]
        target = mask.squeeze(1) if mask.dim() == 5 else mask
        iou = F.binary_cross_entropy(torch.sigmoid(first), target)
    else:
        iou = F.binary_cross_entropy(torch.sigmoid(pred), mask)
    sa = torch.zeros((), dtype=pred.dtype)
    if sa_loss_flag:
        masked = masked_s4 if task == "S4" else masked_ms3
        terms = [masked(pred, audio_features[k], maps[k], **flags) for k in count_stages]
        sa = sum(terms) / len(count_stages)
    return iou + lambda_1 * sa, iou, sa


def masked_s4(pred, a, v, *, mask_pooling_type="avg"):
    a = a.reshape(-1, a.shape[-1])
    pool = F.adaptive_avg_pool2d if mask_pooling_type == "avg" else F.adaptive_max_pool2d
    m = (pool(torch.sigmoid(pred), v.shape[-2:]) > 0.5).to(v.dtype)
    u = (v * m).sum((2, 3)) / (m.sum((2, 3)) + 1e-6)
    cosine = (F.normalize(u, dim=-1) * F.normalize(a, dim=-1)).sum(-1)
    return (-torch.log(torch.relu(cosine) + 1e-6)).mean()


def masked_ms3(pred, a, v, *, mask_pooling_type="avg", norm_fea=True, threshold=False, closer_flag=False,
               euclidean_flag=False, kl_flag=False):
    a = a.reshape(-1, a.shape[-1])
    pool = F.adaptive_avg_pool2d if mask_pooling_type == "avg" else F.adaptive_max_pool2d
    m = torch.sigmoid(pool(pred, v.shape[-2:]))
    if threshold and not closer_flag:
        m = (m > 0.5).float()  # float32 also in a float64 run: the count plus 1e-6 is rounded
        u = (v * m).sum((2, 3)) / (m.sum((2, 3)) + 1e-6)
    else:
        u = (v * m).mean((2, 3))
    if norm_fea:
        a, u = F.normalize(a, dim=-1), F.normalize(u, dim=-1)
    if closer_flag:
        distance = torch.stack([(a - row).pow(2).sum(-1).sqrt() for row in a])
        closest = (distance + 10 * torch.eye(len(a), dtype=a.dtype)).argmin(0)
        a = u[closest]
    if euclidean_flag:
        return F.pairwise_distance(a, u, p=2).mean()
    if kl_flag:
        return F.kl_div(u.softmax(-1).log(), a.softmax(-1), reduction="sum")
    raise ValueError("the semantic-aware loss of MS3 needs kl_flag or euclidean_flag")


def mask_iou(pred, target, eps=1e-7):
    """``pred`` logits and ``target [N, H, W]``."""
    N = pred.shape[0]
    pixels = pred.shape[-1] * pred.shape[-2]
    empty = target.sum((1, 2)) == 0
    pred = (torch.sigmoid(pred) > 0.5).int()
    inter = (pred * target).sum((1, 2))
    union = torch.max(pred, target).sum((1, 2))
    silent = ((1 - target) * (1 - pred)).sum((1, 2))
    inter[empty] = silent[empty]
    union[empty] = pixels
    return torch.sum(inter / (union + eps)) / N


def precision_recall(pred, gt, count=255):
    """One frame: ``pred`` probabilities, 255 passes."""
    precision, recall = torch.zeros(count), torch.zeros(count)
    for i, threshold in enumerate(torch.linspace(0, 1 - 1e-10, count)):
        hit = (pred >= threshold).float()
        true = (hit * gt).sum()
        precision[i], recall[i] = true / (hit.sum() + 1e-20), true / (gt.sum() + 1e-20)
    return precision, recall


def f_curves(pred, gt, count=255):
    """F by threshold of every frame that has a target, ``[M, count]``."""
    beta2, curves = 0.3, []
    for p, g in zip(torch.sigmoid(pred), gt, strict=True):
        if g.mean() == 0.0:
            continue
        precision, recall = precision_recall(p, g, count)
        f = (1 + beta2) * precision * recall / (beta2 * precision + recall)
        f[f != f] = 0
        curves.append(f)
    return torch.stack(curves) if curves else torch.zeros(0, count)


def f_measure(pred, gt, count=255):
    total, valid = torch.zeros(count), 0
    for f in f_curves(pred, gt, count):
        total, valid = total + f, valid + 1
    return (total / valid).max().item() if valid else 0.0

"""PyTorch twin of MiVOS' state over a video: upstream's InferenceCore, the DAVIS processor and the losses."""
from __future__ import annotations

import torch
import torch.nn.functional as F

from alignment.reference.mivos import aggregate_wbg
from alignment.reference.mivos_data import pad_amounts


def pad16(x):
    """Zero-pad the last two axes to multiples of 16; returns the amounts (left, right, top, bottom) too."""
    amounts = pad_amounts(*x.shape[-2:])
    return F.pad(x, amounts), amounts


def unpad(x, amounts):
    left, right, top, bottom = amounts
    return x[..., top:x.shape[-2] - bottom, left:x.shape[-1] - right]


class InferenceCore:
    """Memory, results and interactions over one video; images [1, T, 3, H, W]."""

    def __init__(self, propagation, fusion, images, num_objects, mem_freq=5):
        self.propagation, self.fusion, self.k, self.mem_freq = propagation, fusion, num_objects, mem_freq
        self.images, self.pad = pad16(images)
        self.t = images.shape[1]
        height, width = self.images.shape[-2:]
        self.prob = torch.zeros(num_objects + 1, self.t, 1, height, width, dtype=images.dtype)
        self.prob[0] = 1e-7
        self.interacted = set()
        self.certain = []  # (key, value) of every interaction, in order; never thinned
        self.query = {}

    def frame(self, index):
        return self.images[:, index]

    def query_of(self, index):
        if index not in self.query:
            self.query[index] = self.propagation.get_query_values(self.frame(index))
        return self.query[index]

    def interact(self, mask, index):
        """mask [K+1, 1, H, W] with background; returns uint8 labels [T, H, W]."""
        self.interacted.add(index)
        mask, _ = pad16(mask)
        difference = mask - self.prob[:, index]
        self.pos, self.neg = difference.clamp(0, 1), (-difference).clamp(0, 1)
        self.prob[:, index] = mask
        self.certain.append(self.propagation.memorize(self.frame(index), mask[1:]))
        self.pass_over(index, 1)
        self.pass_over(index, -1)
        labels = unpad(self.prob.argmax(0), self.pad)[:, 0]
        return labels.to(torch.uint8)

    def pass_over(self, index, step):
        ahead = [t for t in self.interacted if (t - index) * step > 0]
        closest = min(ahead, key=lambda t: abs(t - index)) if ahead else (self.t if step > 0 else -1)
        permanent, temporary = list(self.certain), None
        last = index
        for t in range(index + step, closest, step):
            bank = permanent if temporary is None else [*permanent, temporary]
            keys, values = (torch.cat([entry[i] for entry in bank], 2) for i in (0, 1))
            prob = self.propagation.segment_with_query(keys, values, *self.query_of(t))
            out = aggregate_wbg(prob, keep_bg=True)
            if t != closest - step:
                entry = self.propagation.memorize(self.frame(t), out[1:])
                if abs(t - last) >= self.mem_freq:
                    permanent.append(entry)
                    temporary, last = None, t
                else:
                    temporary = entry
            self.prob[:, t] = self.fuse(closest, index, t, out) if ahead else out

    def fuse(self, closest, index, t, out):
        to_closest, to_index = abs(closest - t) / abs(closest - index), abs(index - t) / abs(closest - index)
        time = torch.tensor([[to_closest, to_index]], dtype=out.dtype)
        query_key = self.query_of(t)[3]
        memory_key = self.certain[-1][0]
        fused = []
        for i in range(1, self.k + 1):
            attention = self.propagation.get_attention(memory_key[i - 1:i], self.pos[i:i + 1], self.neg[i:i + 1],
                                                       query_key)
            logit = self.fusion(self.frame(t), self.prob[i:i + 1, t], out[i:i + 1], attention, time)
            fused.append(torch.sigmoid(logit))
        return aggregate_wbg(torch.cat(fused), keep_bg=True)


def scribbles_to_mask(s2m, image, labels, positive, negative):
    """The DAVIS processor's interaction: padded image [1, 3, H, W], labels [H, W], maps [K, H, W].

    Returns (logits [K, 1, H, W], hard probabilities [K+1, 1, H, W]).
    """
    logits = []
    for i in range(len(positive)):
        parts = [(labels == i + 1).to(image.dtype), positive[i], negative[i]]
        logits.append(s2m(torch.cat([image, torch.stack(parts)[None]], 1)))
    logits = torch.cat(logits)
    return logits, aggregate_wbg(torch.sigmoid(logits), keep_bg=True, hard=True)


def bootstrapped(logits, target, it, start, end, floor=0.15):
    """Mean of the hardest share of the pixels; the share falls from 1 to ``floor``. Returns (loss, share)."""
    raw = F.cross_entropy(logits, target, reduction="none").flatten()
    if it < start:
        return raw.mean(), 1.0
    share = floor if it > end else floor + (1 - floor) * (end - it) / (end - start)
    return torch.topk(raw, int(raw.numel() * share)).values.mean(), share


def per_sample_loss(logits, target, selector, it, start, end):
    """Upstream's propagation and fusion loss: sample by sample; without a second object only two classes."""
    total, share = 0.0, 0.0
    for b in range(len(logits)):
        classes = logits.shape[1] if selector is None or selector[b, 1] > 0.5 else 2
        loss, p = bootstrapped(logits[b:b + 1, :classes], target[b:b + 1], it, start, end)
        total, share = total + loss / len(logits), share + p / len(logits)
    return total, share


def iou_sums(mask, target):
    """Intersection and union counts of ``mask > 0.5`` with ``target > 0.5``."""
    a, b = mask > 0.5, target > 0.5
    return (a & b).sum().float(), (a | b).sum().float()


def three_frames(network, rgb, gt, sec_gt=None, selector=None):
    """Mask-Propagation's training pass: memorise 0, segment 1, memorise the prediction, segment 2.

    rgb [B, 3, 3, H, W]; gt, sec_gt [B, 3, 1, H, W]. Returns a dict with logits_t, mask_t, sec_mask_t, key_0, value_0.
    """
    out = {}
    two = sec_gt is not None
    first = memorize_objects(network, rgb[:, 0], gt[:, 0], sec_gt[:, 0] if two else None)
    out["key_0"], out["value_0"] = first[0]
    logits, masks = network.segment_train(rgb[:, 1], [k for k, _ in first], [v for _, v in first], selector)
    out["logits_1"], out["mask_1"] = logits, masks[:, :1]
    if two:
        out["sec_mask_1"] = masks[:, 1:]
    second = memorize_objects(network, rgb[:, 1], masks[:, :1], masks[:, 1:] if two else None)
    keys = [torch.cat([a[0], b[0]], 2) for a, b in zip(first, second, strict=True)]
    values = [torch.cat([a[1], b[1]], 2) for a, b in zip(first, second, strict=True)]
    logits, masks = network.segment_train(rgb[:, 2], keys, values, selector)
    out["logits_2"], out["mask_2"] = logits, masks[:, :1]
    if two:
        out["sec_mask_2"] = masks[:, 1:]
    return out


def memorize_objects(network, frame, mask, other=None):
    if other is None:
        return [network.memorize_train(frame, mask)]
    return [network.memorize_train(frame, mask, other), network.memorize_train(frame, other, mask)]

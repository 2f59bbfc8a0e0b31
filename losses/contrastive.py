"""ActionCLIP's loss: videos and sentences of a batch matched both ways (upstream utils/KLLoss.py, utils/tools.py)."""
from __future__ import annotations

import paddle
import paddle.nn.functional as F

SHARPNESS = 10.0  # targets are softmax(10 * equal), so one of 128 keeps 0.994 of the mass


def equal_labels(labels, dtype="float32"):
    """``labels [B]`` int -> ``[B, B]``: 1 where two samples share a class, else 0."""
    return (labels.unsqueeze(0) == labels.unsqueeze(1)).astype(dtype)


def paired_logits(video, text, scale):
    """Scaled cosines of ``video [B, D]`` and ``text [B, D]``: ``[B, B]`` video by text, and its transpose."""
    video, text = (x / x.norm(axis=-1, keepdim=True) for x in (video, text))
    logits = scale * paddle.matmul(video, text, transpose_y=True)
    return logits, logits.T


def matching_divergence(logits, equal):
    """KL(softmax(10 * equal) || softmax(logits)), summed over a row and averaged over rows; 0-d."""
    target = F.softmax(SHARPNESS * equal, axis=1)
    return (target * (target.log() - F.log_softmax(logits, axis=1))).sum(1).mean()


def video_text_loss(video, text, labels, scale):
    """Mean of the two directions.

    Args:
        video, text: ``[B, D]`` features, not normalized; the negatives are the whole batch.
        labels: ``[B]`` int class ids.
        scale: exp(logit_scale), 0-d.

    Returns:
        dict of 0-d tensors: ``total``, ``images`` (video to text), ``texts``.
    """
    by_video, by_text = paired_logits(video, text, scale)
    equal = equal_labels(labels, video.dtype)
    images, texts = matching_divergence(by_video, equal), matching_divergence(by_text, equal)
    return {"total": (images + texts) / 2, "images": images, "texts": texts}

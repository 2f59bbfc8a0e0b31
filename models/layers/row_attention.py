"""Attention of every position to every position without the P x P matrix in memory: rows in chunks, each exact.

``query [B, P, K]``, ``key [B, P, K]``, ``value [B, P, V]`` -> ``[B, P, V]``. The backward pass computes the rows again
instead of keeping them, so training is linear in memory too.
"""
from __future__ import annotations

import paddle
import paddle.nn.functional as F

CHUNK = 1 << 22  # numbers of the matrix that exist at a time (16 MB in float32)


def softmax_attention(query, key, value):
    """Rows of ``softmax(query . key^T)`` times ``value``; no scale."""
    return _in_rows(lambda rows, key, value: paddle.matmul(
        F.softmax(paddle.matmul(rows, key, transpose_y=True), axis=-1), value), query, key, value)


def relu_attention(alpha, beta, value):
    """Rows of ``relu(alpha_i + beta_j) / P`` times ``value``; ``alpha``, ``beta [B, P, 1]``."""
    return _in_rows(lambda rows, beta, value: paddle.matmul(
        F.relu(rows + beta.transpose([0, 2, 1])), value) / value.shape[1], alpha, beta, value)


def _in_rows(rows_of, query, *others):
    if not paddle.in_dynamic_mode():  # a static graph has no sizes to count with
        return rows_of(query, *others)
    B, P = query.shape[:2]
    step = max(1, CHUNK // (B * P))
    if step >= P:
        return rows_of(query, *others)
    return paddle.concat([_Recomputed.apply(query[:, first:first + step], *others, rows_of)
                          for first in range(0, P, step)], axis=1)


class _Recomputed(paddle.autograd.PyLayer):
    """Keeps a chunk's inputs only and computes it again in the backward pass."""

    @staticmethod
    def forward(ctx, *arguments):
        *tensors, ctx.rows_of = arguments
        ctx.save_for_backward(*tensors)
        with paddle.no_grad():
            return ctx.rows_of(*tensors)

    @staticmethod
    def backward(ctx, gradient):
        tensors = [tensor.detach() for tensor in ctx.saved_tensor()]
        for tensor in tensors:
            tensor.stop_gradient = False
        with paddle.enable_grad():
            rows = ctx.rows_of(*tensors)
        return tuple(paddle.grad(rows, tensors, gradient))

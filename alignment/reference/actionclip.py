"""ActionCLIP in PyTorch, the way upstream writes it, with its entry names.

``state_dict`` names of :class:`ActionCLIP`: CLIP's at the root, the fusion head's under ``module.``, so the union is
the two dictionaries of a published checkpoint (sallymmx/ActionCLIP; clip/model.py, modules/Visual_Prompt.py,
modules/temporal_shift.py, utils/tools.py, utils/KLLoss.py, test.py).
"""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from alignment.reference.clip import CLIP, ResidualAttentionBlock


class ActionCLIP(CLIP):
    """CLIP with ``module``, the fusion head, and upstream's options."""

    def __init__(self, sim_header, num_segments, tsm=False, joint=False, **clip):
        super().__init__(**clip, joint_frames=num_segments if joint else 0)
        self.joint, self.num_segments = joint, num_segments
        if tsm:
            blocks = self.visual.transformer.resblocks
            for index in range(len(blocks)):
                blocks[index] = TemporalShift(blocks[index], num_segments)
        self.module = VisualPrompt(sim_header, clip["embed_dim"], clip["transformer_heads"], num_segments)

    def encode_video(self, frame_features):
        if self.joint:
            return frame_features
        return self.module(frame_features.view(-1, self.num_segments, frame_features.shape[-1]))


class TemporalShift(nn.Module):
    """On the residual stream ``[L, B*T, W]``; the class token rests."""

    def __init__(self, net, n_segment, n_div=8):
        super().__init__()
        self.net, self.n_segment, self.n_div = net, n_segment, n_div

    def forward(self, x):
        L, N, W = x.shape
        fold = W // self.n_div
        patches = x[1:].permute(1, 2, 0).reshape(N // self.n_segment, self.n_segment, W, L - 1)
        out = patches.clone()
        out[:, :, : 2 * fold] = 0
        out[:, :-1, :fold] = patches[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = patches[:, :-1, fold : 2 * fold]
        return self.net(torch.cat([x[:1], out.reshape(N, W, L - 1).permute(2, 0, 1)]))


class TemporalTransformer(nn.Module):
    def __init__(self, width, layers, heads):
        super().__init__()
        self.resblocks = nn.Sequential(*[ResidualAttentionBlock(width, heads, eps=1e-12) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class TAggregate(nn.Module):
    def __init__(self, clip_length, embed_dim, heads=8, n_layers=6):
        super().__init__()
        layer = nn.TransformerEncoderLayer(d_model=embed_dim, nhead=heads)
        self.transformer_enc = nn.TransformerEncoder(layer, n_layers, norm=nn.LayerNorm(embed_dim),
                                                     enable_nested_tensor=False)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, clip_length + 1, embed_dim))

    def forward(self, x):
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1) + self.pos_embed
        return self.transformer_enc(x.permute(1, 0, 2))[0]


class VisualPrompt(nn.Module):
    """``x [B, T, D] -> [B, D]``."""

    def __init__(self, sim_header, embed_dim, heads, T):
        super().__init__()
        self.sim_header = sim_header
        if sim_header != "meanP":
            self.frame_position_embeddings = nn.Embedding(77, embed_dim)
        if sim_header == "Transf":
            self.transformer = TemporalTransformer(embed_dim, 6, heads)
        elif sim_header == "LSTM":
            self.lstm_visual = nn.LSTM(embed_dim, embed_dim, batch_first=True)
        elif sim_header == "Transf_cls":
            self.transformer = TAggregate(T, embed_dim)
        elif sim_header == "Conv_1D":
            self.shift = nn.Conv1d(embed_dim, embed_dim, 3, padding=1, groups=embed_dim, bias=False)

    def forward(self, x):
        B, T, D = x.size()
        original = x
        if self.sim_header == "meanP":
            return x.mean(dim=1)
        if self.sim_header == "Conv_1D":
            y = self.shift(x.contiguous().view(-1, D, T)).permute(0, 2, 1)
            return (y + original).mean(dim=1)
        if self.sim_header == "Transf":
            positions = torch.arange(T).unsqueeze(0).expand(B, -1)
            y = (x + self.frame_position_embeddings(positions)).permute(1, 0, 2)
            return (self.transformer(y).permute(1, 0, 2) + original).mean(dim=1)
        if self.sim_header == "LSTM":
            return (self.lstm_visual(x)[0] + original).mean(dim=1)
        return self.transformer(x)


def create_logits(x1, x2, logit_scale):
    x1 = x1 / x1.norm(dim=-1, keepdim=True)
    x2 = x2 / x2.norm(dim=-1, keepdim=True)
    return logit_scale * x1 @ x2.t(), logit_scale * x2 @ x1.t()


def gen_label(labels):
    return torch.tensor([[float(a == b) for b in labels] for a in labels])


def kl_loss(prediction, label):
    """Mean over elements times the batch: upstream's KLLoss."""
    log_probs = F.log_softmax(prediction, 1)
    target = F.softmax(label * 10, 1)
    return F.kl_div(log_probs, target, reduction="mean") * prediction.shape[0]


def probabilities(video, classes, num_text_aug):
    """Softmax over classes of 100 x cosine, averaged over the templates (template-major ``classes``)."""
    video = video / video.norm(dim=-1, keepdim=True)
    classes = classes / classes.norm(dim=-1, keepdim=True)
    similarity = (100.0 * video @ classes.T).view(video.shape[0], num_text_aug, -1).softmax(dim=-1)
    return similarity.mean(dim=1)


def top(similarity, class_id, k):
    """Percent of rows whose class is among the k best."""
    best = similarity.topk(min(k, similarity.shape[-1]), dim=-1)[1]
    return 100.0 * sum(int(c in row) for c, row in zip(class_id, best, strict=True)) / len(class_id)

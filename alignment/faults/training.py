"""Faults of losses, optimizers, schedules and of what is frozen."""
from __future__ import annotations

import dataclasses

import paddle
import paddle.nn.functional as F
from paddle import nn

import alignment.cases.actionclip.ours
import alignment.cases.avs.ours
import alignment.cases.dff.ours
import alignment.cases.mivos.ours
import alignment.cases.mvf.ours
import alignment.cases.xclip.ours
import engine.optimization as optimization
import losses.audio_visual
import losses.contrastive
import losses.mask
from alignment.faults.fault import Fault, Place, Plant
from alignment.faults.layers import constants, function
from engine.clipping import PaddleGlobalNorm, PerTensorNorm
from losses.flow import SCALE_WEIGHTS
from models.backbones.resnet import ResNet
from models.dff import DFF
from models.mivos.propagation import PropagationNetwork

Double = optimization._DoublePrecision
FIRST_STEP = r"leaves at step 0 of"
THIRD_STEP = r"leaves at step 2 of"
EVERY = "the rule of every parameter is wrong: the first parameter after the first update is named"


def rule(**changed: object) -> Plant:
    """The optimizer is built with other numbers."""
    return function(optimization, "Rule", lambda original, **options: original(**{**options, **changed}))


def adam(*, inside: bool = False, corrected: bool = True) -> Plant:
    """Adam and AdamW with epsilon inside the root, or without the correction of the first steps' bias."""
    def update(original, self, name, parameter, gradient, rate):
        original(self, name, parameter, gradient, rate)  # keeps the moments
        beta1, beta2 = self.rule.betas
        mean, square, step = (self._slots[slot, name] for slot in ("exp_avg", "exp_avg_sq", "step"))
        first, second = 1 - beta1 ** int(step), 1 - beta2 ** int(step)
        right = mean / first / (paddle.sqrt(square / second) + self.rule.eps)
        first, second = (first, second) if corrected else (1.0, 1.0)
        root = paddle.sqrt(square / second + self.rule.eps) if inside else paddle.sqrt(square / second) + self.rule.eps
        parameter.add_(rate * (right - mean / first / root))
    return function(Double, "_adam", update)


def decay(update: str, wanted) -> Plant:
    """Weight decay by ``wanted(own decay, parameter)`` in the update rule ``_sgd`` or ``_adam``."""
    def updated(original, self, name, parameter, gradient, rate):
        own = self.weight_decay
        self.weight_decay = wanted(own, parameter)
        try:
            return original(self, name, parameter, gradient, rate)
        finally:
            self.weight_decay = own
    return function(Double, update, updated)


def vectors_rest(own: float, parameter) -> float:
    return own if parameter.ndim > 1 else 0.0


def vectors_decay(strength: float):
    return lambda own, parameter: own if parameter.ndim > 1 else strength


def clear_to_zero(original, self) -> None:
    for parameter in self.parameters.values():
        parameter.clear_gradient(True)


def one_rate(original, self, group, of_all) -> None:
    """Every group gets the rate of the first."""
    if not self._updaters:
        self.rate_of_all = group.rate
    original(self, dataclasses.replace(group, rate=self.rate_of_all), of_all)


def next_rate(original, *arguments, **options):
    schedule = original(*arguments, **options)
    return lambda update: schedule(update + 1)


def ignore_minus_one(original, logits, labels, **options):
    """255 renamed -1, which Paddle's mean counts although it ignores it."""
    labels = paddle.where(labels == options["ignore_index"], paddle.full_like(labels, -1), labels)
    return original(logits, labels, **{**options, "ignore_index": -1})


def spread_over_the_others(original, logits, labels, smoothing=0.0):
    """The mass e goes to the K - 1 other classes instead of to all K."""
    classes = logits.shape[-1]
    return original(logits, labels, smoothing * classes / (classes - 1))


def mean_of_all(original, logits, *rest):
    """A divergence averaged over all elements (the libraries' default) instead of over rows."""
    return original(logits, *rest) / logits.shape[-1]


def average_for_maximum(original, x, size, kind):
    return original(x, size, "avg")


def plain_train(original, self):
    """``train()`` without what keeps parts of the network in evaluation mode."""
    return nn.Layer.train(self)


FAULTS = (
    Fault("ignored_label_below_0", "ignored pixels have label -1: Paddle divides by all pixels", (
        Place("dff", "full_zeros_scale", ("loss", "backward", "train"), function(F, "cross_entropy", ignore_minus_one),
              r"loss"),)),
    Fault("label_smoothing", "the smoothed mass goes to the other classes only", (
        Place("mvf", "faults_small", ("loss",), function(
            alignment.cases.mvf.ours, "smoothed_cross_entropy", spread_over_the_others), r"label_smooth_0\.1"),
        Place("xclip", "faults_small", ("loss",), function(
            alignment.cases.xclip.ours, "smoothed_cross_entropy", spread_over_the_others), r"smooth"))),
    Fault("loss_reduction", "a divergence averaged over all elements; a maximum pooled as a mean", (
        Place("actionclip", "faults_small", ("loss", "backward", "train"),
              function(losses.contrastive, "matching_divergence", mean_of_all), r"loss_images"),
        Place("avs", "losses_small", ("loss", "backward"), function(losses.audio_visual, "pool", average_for_maximum),
              r"s4\.max"))),
    Fault("loss_constant", "a constant of the loss mistyped, or its list in the other order", (
        Place("actionclip", "faults_small", ("loss", "backward"), constants(losses.contrastive, SHARPNESS=1.0),
              r"loss_images"),
        Place("mivos", "faults_single", ("loss",), constants(losses.mask, LEAST_SHARE=0.2),
              r"total_loss_it70000|p_it\d+|total_loss_it\d+"),
        Place("dff", "flow_full", ("loss", "backward", "train"),
              constants(alignment.cases.dff.ours, SCALE_WEIGHTS=SCALE_WEIGHTS[::-1]), r"loss"))),
    Fault("nesterov", "SGD with Nesterov's momentum for plain, or the reverse", (
        Place("mvf", "faults_small", ("train",), rule(nesterov=False), r"first:backbone\.conv1\.weight", beside=EVERY),
        Place("dff", "pspnet_csail", ("train",), rule(nesterov=True), r"first:backbone\.stem\.0\.conv1\.weight",
              beside=EVERY))),
    Fault("momentum", "momentum 0.1 for 0.9, or first and second moment of Adam exchanged", (
        Place("dff", "pspnet_csail", ("train",), rule(momentum=0.1), r"losses", detail=THIRD_STEP),
        Place("actionclip", "faults_small", ("train",), rule(betas=(0.98, 0.9)), r"first:exp_avg:.*", beside=EVERY),
        Place("xclip", "faults_small", ("train",), rule(betas=(0.98, 0.9)), r"first:exp_avg:.*", beside=EVERY),
        Place("avs", "faults_small", ("train",), rule(betas=(0.999, 0.9)), r"first:exp_avg:.*", beside=EVERY),
        Place("mivos", "faults_fusion", ("train",), rule(betas=(0.999, 0.9)), r"first:exp_avg:.*", beside=EVERY))),
    Fault("decay_list", "norms and biases decay though the recipe excludes them, or do not though it includes them", (
        Place("mvf", "faults_small", ("train",), decay("_sgd", vectors_rest), r"first:backbone\.bn1\.weight"),
        Place("actionclip", "faults_small", ("train",), decay("_adam", vectors_rest),
              r"first:(logit_scale|visual\.class_embedding|.*(bias|ln_\w+\.weight))"),
        Place("xclip", "faults_small", ("train",), decay("_adam", vectors_decay(0.001)),
              r"first:(logit_scale|.*bias|.*ln_\w+\.weight|.*alpha|.*norm\w*\.weight|visual\.class_embedding)"),
        Place("mivos", "faults_fusion", ("train",), decay("_adam", vectors_rest), r"first:(exp_avg:)?.*\.bias"),
        Place("dff", "flow_slim", ("train",), decay("_adam", vectors_decay(4e-4)), r"first:(exp_avg:)?.*\.bias"))),
    Fault("decay_coupled", "decay added to the gradient for decay of the weights, or the reverse", (
        Place("actionclip", "faults_small", ("train",), rule(kind="adam"), r"first:.*", beside=EVERY),
        Place("xclip", "faults_small", ("train",), rule(kind="adam"), r"first:.*", beside=EVERY),
        Place("mivos", "faults_fusion", ("train",), rule(kind="adamw"), r"first:.*", beside=EVERY),
        Place("dff", "flow_full", ("train",), rule(kind="adamw"), r"first:.*weight", beside=EVERY))),
    Fault("adam_epsilon", "epsilon of Adam inside the root", tuple(
        Place(system, case, ("train",), adam(inside=True), r"first:.*", beside=EVERY) for system, case in (
            ("actionclip", "faults_small"), ("xclip", "faults_small"), ("avs", "faults_small"),
            ("mivos", "faults_fusion"), ("dff", "flow_full")))),
    Fault("adam_bias_correction", "Adam without the correction of the first steps", tuple(
        Place(system, case, ("train",), adam(corrected=False), r"first:.*", beside=EVERY) for system, case in (
            ("actionclip", "faults_small"), ("xclip", "faults_small"), ("avs", "faults_small"),
            ("mivos", "faults_fusion"), ("dff", "flow_full")))),
    Fault("clip_by_tensor", "each gradient clipped by its own norm instead of all by the common one", (
        Place("mvf", "faults_small", ("train",), constants(alignment.cases.mvf.ours, GlobalNorm=PerTensorNorm),
              r"first:.*", beside=EVERY),)),
    Fault("clip_epsilon", "clipping without the 1e-6 that PyTorch adds to the norm", (
        Place("mvf", "faults_small", ("train",), constants(alignment.cases.mvf.ours, GlobalNorm=PaddleGlobalNorm),
              r"first:.*", beside=EVERY),)),
    Fault("schedule_off_by_one", "the schedule is asked one update too late", (
        Place("mvf", "ucf101_pipeline", ("schedule",),
              function(alignment.cases.mvf.ours, "cosine_after_warmup", next_rate), r"0\.00125:0:5:50:7",
              detail=FIRST_STEP),
        Place("actionclip", "data", ("schedule",),
              function(alignment.cases.actionclip.ours, "actionclip_cosine", next_rate), r"cosine"),
        Place("xclip", "data", ("schedule",), function(alignment.cases.xclip.ours, "xclip_cosine", next_rate),
              r"rates"),
        Place("mivos", "faults_fusion", ("train",), function(alignment.cases.mivos.ours, "multistep", next_rate),
              r"losses", detail=r"leaves at step [23] of"),
        Place("dff", "warp_metric_data", ("schedule",), function(
            alignment.cases.dff.ours, "article_rate", lambda original, step, *rest: original(step + 1, *rest)),
              r"lr", detail=FIRST_STEP))),
    Fault("group_rate", "every group of parameters gets the rate of the first", (
        Place("actionclip", "faults_small", ("train",), function(optimization.Optimizer, "_add", one_rate),
              r"first:module\..*"),
        Place("xclip", "faults_small", ("train",), function(optimization.Optimizer, "_add", one_rate),
              r"first:.*(mit|prompts|message_).*"))),
    Fault("gradients_kept", "gradients are not cleared between updates", tuple(
        Place(system, case, ("train",), function(optimization.Optimizer, "clear_grad", lambda original, self: None),
              r"losses", detail=THIRD_STEP) for system, case in (
            ("mvf", "faults_small"), ("actionclip", "faults_small"), ("xclip", "faults_small"),
            ("avs", "faults_small"), ("mivos", "faults_fusion"), ("dff", "flow_full")))),
    Fault("gradients_zeroed", "cleared gradients are zeros: what takes no part in a step still decays and moves", (
        Place("dff", "pspnet_v1c", ("train",), function(optimization.Optimizer, "clear_grad", clear_to_zero),
              r"param:auxiliary_head\..*"),)),
    Fault("not_frozen", "what the recipe freezes is trained, or keeps no running statistics", (
        Place("mvf", "faults_frozen", ("train",), function(ResNet, "_freeze", lambda original, self: None),
              r"first:backbone\.(conv1\.weight|bn1\..*)"),
        Place("xclip", "faults_frozen", ("train",),
              constants(alignment.cases.xclip.ours, frozen_with_text=lambda name: False),
              r"first:(positional_embedding|text_projection|logit_scale)"),
        Place("mivos", "faults_single", ("forward", "loss"), function(PropagationNetwork, "train", plain_train),
              r"mask_rgb_encoder\.bn1"),
        Place("dff", "full_zeros_scale", ("train",), function(DFF, "train", plain_train),
              r"first:net_feat\.model\.(backbone\.stem|decode_head).*"))),
)

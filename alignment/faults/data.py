"""Faults of readers, transforms, tokens, sound and measures."""
from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

import alignment.cases.actionclip.ours
import alignment.cases.avs.ours
import alignment.cases.dff.ours
import alignment.cases.mivos.ours
import alignment.cases.mvf.ours
import alignment.cases.xclip.ours
import datasets.actionclip_transforms as actionclip_transforms
import datasets.avsbench
import datasets.cityscapes_transforms as cityscapes_transforms
import datasets.xclip_transforms as xclip_transforms
import metrics.audio_visual
import metrics.davis
import metrics.video_text
from alignment.faults.fault import Fault, Place
from alignment.faults.layers import constants, function
from datasets import blending, clip_sampling, mvf_transforms, segment_sampling
from metrics.classification import confusion_matrix
from metrics.segmentation import ConfusionMatrix

CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)  # of 0-255, where ImageNet's belong
IMAGENET = (0.485, 0.456, 0.406)  # of 0-1, where CLIP's belong
INDEX = r"the first at \["


def one_later(original, *arguments, **options):
    return original(*arguments, **options) + 1


def one_later_each(original, *arguments, **options):
    return type(made := original(*arguments, **options))(number + 1 for number in made)


def other_channels(original, image, *arguments, **options):
    return original(image[..., ::-1], *arguments, **options)


def by_area(original, image, size, **options):
    return original(image, size, **{**options, "interpolation": cv2.INTER_AREA})


def bilinear_pillow(original, image, size):
    return image.resize(original(image, size).size, Image.Resampling.BILINEAR)


def without_end(original, *arguments):
    """Tokens whose end marker was forgotten."""
    tokenize = original(*arguments)

    def cut(texts):
        ids = tokenize(texts)
        return np.where(ids == ids.max(), 0, ids)
    return cut


def of_all_classes(original, scores, labels):
    matrix = confusion_matrix(scores.argmax(1), np.asarray(labels), scores.shape[1])
    return float((np.diag(matrix) / np.maximum(matrix.sum(1), 1)).mean())


def of_mean_logits(original, logits):
    return original(logits.mean(0, keepdims=True))


def rows_for_columns(original, self, labels, predictions):
    inside = (labels >= 0) & (labels < self.num_classes)
    return original(self, np.where(inside, predictions, labels), np.where(inside, labels, predictions))


FAULTS = (
    Fault("frame_off_by_one", "frame numbers one too high", (
        Place("mvf", "kinetics_pipeline", ("sampling",), function(clip_sampling, "dense_clips", one_later),
              r"test:16x4x1", detail=INDEX),
        Place("actionclip", "data", ("sampling",), function(segment_sampling, "actionclip_test", one_later), r"flat",
              detail=INDEX),
        Place("xclip", "data", ("sampling",), function(segment_sampling, "xclip_test", one_later), r"test_1_8",
              detail=INDEX),
        Place("avs", "losses_small", ("sampling",),
              function(alignment.cases.avs.ours, "second_frames", one_later_each), r"25\.0_125", detail=INDEX),
        Place("mivos", "faults_data", ("sampling",), function(
            alignment.cases.mivos.ours, "frame_triple", one_later_each), r"n3_jump5", detail=INDEX),
        Place("dff", "warp_metric_data", ("sampling",), function(
            alignment.cases.dff.ours, "frame_numbers", one_later_each), r"pairs", detail=INDEX))),
    Fault("colour_order", "red and blue exchanged", (
        Place("mvf", "kinetics_pipeline", ("transform",), function(mvf_transforms, "prepare", other_channels),
              r"test"),
        Place("actionclip", "data", ("transform",), function(actionclip_transforms, "images", other_channels),
              r"val64:frames"),
        Place("xclip", "data", ("transform",), function(xclip_transforms, "normalized", other_channels), r"center"),
        Place("avs", "losses_small", ("transform",), function(alignment.cases.avs.ours, "normalised", other_channels),
              r"image"),
        Place("dff", "warp_metric_data", ("transform",), constants(cityscapes_transforms, FLOW_STYLES={
            "article": ("rgb", (0.0, 0.0, 0.0), 255.0)}), r"flow"))),
    Fault("normalisation", "mean of another model's recipe", (
        Place("mvf", "kinetics_pipeline", ("transform",), function(
            mvf_transforms, "prepare", lambda original, clip, **options: original(clip, **options, mean=CLIP_MEAN)),
              r"test"),
        Place("actionclip", "data", ("transform",), constants(actionclip_transforms, MEAN=IMAGENET), r"val64:frames"),
        Place("xclip", "data", ("transform",), constants(xclip_transforms, MEAN=CLIP_MEAN), r"center"),
        Place("avs", "losses_small", ("transform",), constants(
            datasets.avsbench, MEAN=np.array([0.5, 0.5, 0.5], np.float32)), r"image"),
        Place("dff", "warp_metric_data", ("transform",), constants(cityscapes_transforms, SEG_MEAN=CLIP_MEAN),
              r"seg"))),
    Fault("resize_rule", "pictures resized by another rule: areas for bilinear, bilinear for bicubic", (
        Place("mvf", "kinetics_pipeline", ("transform",), function(cv2, "resize", by_area), r"resize256"),
        Place("actionclip", "data", ("transform",), function(actionclip_transforms, "short_side", bilinear_pillow),
              r"val64:frames"),
        Place("xclip", "data", ("transform",), function(cv2, "resize", by_area), r"resize"),
        Place("avs", "losses_small", ("transform",), function(cv2, "resize", by_area), r"resize_224"),
        Place("dff", "warp_metric_data", ("transform",), function(
            cv2, "resize", lambda original, image, size, **options: original(
                image, size, interpolation=cv2.INTER_CUBIC)), r"down_image"))),
    Fault("end_marker", "sentences are tokenized without their end marker", (
        Place("actionclip", "data", ("tokens",), function(alignment.cases.actionclip.ours, "tokenizer", without_end),
              r"flat"),
        Place("xclip", "data", ("tokens",), function(alignment.cases.xclip.ours, "tokenizer", without_end),
              r"ids"))),
    Fault("window", "a symmetric Hann window for the periodic one", (
        Place("avs", "log_mel", ("mel",), function(
            alignment.cases.avs.ours.log_mel, "hann", lambda original: np.hanning(len(original()))), r"window"),)),
    Fault("blending_share", "Mixup gives the share to the other sample", (
        Place("xclip", "data", ("blending",), function(
            blending, "mixup", lambda original, images, target, share, order: original(
                images, target, 1 - share, order)), r"mixup_images"),)),
    Fault("measure", "a corner case or constant of the metric", (
        Place("mvf", "metrics", ("metric",), function(
            alignment.cases.mvf.ours, "mean_class_accuracy", of_all_classes), r"mean_class_accuracy"),
        Place("actionclip", "faults_small", ("metric",), constants(metrics.video_text, TEST_SCALE=14.3),
              r"probabilities"),
        Place("xclip", "data", ("metric",), function(alignment.cases.xclip.ours, "summed_views", of_mean_logits),
              r"similarity"),
        Place("avs", "losses_small", ("metric",), constants(metrics.audio_visual, BETA2=1.0), r"f_measure"),
        Place("mivos", "faults_data", ("metric",), constants(metrics.davis, BOUND=0.016), r"small_F|small_radius"),
        Place("dff", "warp_metric_data", ("metric",), function(ConfusionMatrix, "update", rows_for_columns),
              r"confusion", detail=INDEX))),
)

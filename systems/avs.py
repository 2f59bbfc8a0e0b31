"""AVS: which pixels of a video make its sound (AVSBench's S4 and MS3)."""
from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle.static import InputSpec

from datasets.avs_windows import SoundVideo
from datasets.avsbench import MEAN, STD, AVSBench
from datasets.loader import Loader
from deploy.export import Graph
from deploy.sound_masks import SoundMasks, write_mask
from engine import distributed
from engine.config import build, to_dict
from engine.logger import console
from engine.optimization import Group, Optimizer
from losses.audio_visual import mask_loss, sound_loss_ms3, sound_loss_s4
from metrics.audio_visual import BatchAverage, DatasetAverage, sigmoid
from models import conversion, weights
from models.avs import UPSTREAM_DROPPED, AVSNet, resnet_from_torchvision, upstream_name
from models.avs_listener import Listener, random_vggish
from models.backbones import pvt_v2, vggish
from systems.avs_config import AVSConfig


class AVS:
    """Five frames and five patches of sound in, one mask per frame out; trained by Adam at a constant rate."""

    Config = AVSConfig
    score = "miou"
    PREDICT_OPTIONS = ("masks_per", "without_sound", "stream", "stream_every")

    def __init__(self, config: AVSConfig):
        self.config = config
        self._listener: Listener | None = None
        given = [entry.name for entry in fields(config.unread) if getattr(config.unread, entry.name) is not None]
        if given:
            console().warning("without effect, as in the original: %s", ", ".join(f"unread.{name}" for name in given))

    @staticmethod
    def add_predict_options(parser) -> None:
        parser.add_argument("--masks_per", choices=("second", "frame"), default="second",
                            help="one mask a second as the original, or one for every frame of the video")
        parser.add_argument("--without_sound", action="store_true", help="take silence where the video has no sound")
        parser.add_argument("--stream", action="store_true",
                            help="read --video as it arrives: a file at its pace, a camera (/dev/video0), a pipe (-)")
        parser.add_argument("--stream_every", type=float, default=1.0, help="seconds between two masks of a stream")

    def network(self) -> AVSNet:
        options = self.config.network
        pvt = {"embed_dims": options.pvt_dims, "num_heads": options.pvt_heads, "depths": options.pvt_depths,
               "sr_ratios": options.pvt_reductions}
        return AVSNet(backbone=options.backbone, channel=options.channel, num_frames=options.frames,
                      tpavi_stages=options.tpavi_stages, vv=options.tpavi_vv, va=options.tpavi_va,
                      drop_path=options.drop_path, head=options.head,
                      pvt=pvt if options.backbone == "pvt" else None)

    @property
    def listener(self) -> Listener:
        """The frozen VGGish, read when it is first needed."""
        if self._listener is None:
            audio = self.config.audio
            a, b, c, d, e, f = audio.widths
            network = random_vggish(audio.seed, widths=(a, "M", b, "M", c, d, "M", e, f, "M"), hidden=audio.hidden)
            if audio.weights:
                file = weights.read(audio.weights)
                if not any(name.endswith("._mean") for name in file) and not audio.weights.endswith(".pdparams"):
                    file = conversion.from_upstream(file, network, vggish.upstream_name, vggish.UPSTREAM_DROPPED,
                                                    audio.weights)
                conversion.load(network, file, audio.weights)
            else:
                console().warning("audio.weights is not set: VGGish has random weights (seed %d)", audio.seed)
            pca = vggish.pca_from_upstream(weights.read_raw(audio.pca)) if audio.pca else None
            self._listener = Listener(network, pca)
        return self._listener

    def initial_weights(self, network: AVSNet) -> None:
        """A whole network (``pretrained``), the S4 network's fitting entries, or an ImageNet backbone."""
        config = self.config
        if config.network.backbone_weights:
            self._load_backbone(network, config.network.backbone_weights)
        if config.s4_weights:
            self._load_fitting(network, config.s4_weights)
        if config.pretrained:
            self.load_weights(network, config.pretrained)

    def _load_backbone(self, network: AVSNet, path: str) -> None:
        file, backbone = weights.read(path), network.backbone
        if self.config.network.backbone == "resnet":
            state = conversion.from_upstream(resnet_from_torchvision(file), backbone,
                                             lambda name: upstream_name(f"resnet.{name}").removeprefix("resnet."),
                                             source=path)
        else:
            state = conversion.from_upstream(file, backbone, pvt_v2.upstream_name, pvt_v2.UPSTREAM_DROPPED, path)
        conversion.load(backbone, state, path)

    def _load_fitting(self, network: AVSNet, path: str) -> None:
        """``load_s4_params``: what the network knows is taken, the rest of the file is left."""
        file = weights.read(path)
        names = conversion.upstream_names(network, upstream_name)
        own = conversion.arrays(network)
        upstream = conversion.to_upstream(own, network, upstream_name)
        if is_ours(file):
            taken = {name: file[name] for name in own if name in file}
            conversion.load(network, {**own, **taken}, path)
        else:
            taken = {name: file[name] for name in names.values() if name in file}
            conversion.load(network, self.convert({**upstream, **taken}, network, path), path)
        console().info("%s: %d of %d entries taken", path, len(taken), len(own))

    def load_weights(self, network: AVSNet, path: str) -> None:
        """A trained network, whole: our file or the original's."""
        conversion.load(network, self.convert(weights.read(path), network, path), path)

    def convert(self, upstream: dict[str, np.ndarray], network: AVSNet | None = None,
                source: str = "the checkpoint") -> dict[str, np.ndarray]:
        """The original's entries (630 with ResNet-50, 1190 with PVTv2-B5) under our names; ours as they are."""
        if is_ours(upstream):
            return upstream
        return conversion.from_upstream(upstream, network or self.network(), upstream_name, UPSTREAM_DROPPED, source)

    def dataset(self, split: str) -> AVSBench:
        data = self.config.data
        return AVSBench(data.root, task=self.config.task, split=split, frames=self.config.network.frames,
                        masks=data.masks, shuffle_sound=data.shuffle_sound)

    def loader(self, split: str) -> Loader:
        train, data = self.config.train, self.config.data
        sizes = {"train": train.batch_size, "val": data.val_batch_size, "test": data.test_batch_size}
        chosen = data.split if split == "test" else split
        return Loader(self.dataset(chosen), batch_size=sizes[split], shuffle=split == "train", workers=train.workers,
                      seed=self.config.seed, rank=distributed.rank(), world_size=distributed.world_size())

    def optimizer(self, network: AVSNet, steps_per_epoch: int) -> Optimizer:
        options = self.config.optimizer
        group = Group("all", network.named_parameters(), lambda update: options.lr)
        return Optimizer([group], kind="adam", betas=(options.beta1, options.beta2), eps=options.eps)

    def _outputs(self, network: AVSNet, batch: dict[str, Any]):
        sound = self.listener.remembered(batch["name"], batch["log_mel"]) if self.config.network.tpavi_va else None
        return network(batch["image"].flatten(0, 1), sound)

    def training_step(self, network: AVSNet, batch: dict[str, Any]) -> dict[str, paddle.Tensor]:
        loss, task = self.config.loss, self.config.task
        logits, maps, sounds = self._outputs(network, batch)
        iou = mask_loss(logits, batch["mask"].flatten(0, 1), task)
        if not loss.sound:
            return {"loss": iou, "iou_loss": iou}
        common = {"stages": loss.stages, "pooling": loss.pooling}
        if task == "S4":
            sa = sound_loss_s4(logits, sounds, maps, **common)
        else:
            sa = sound_loss_ms3(logits, sounds, maps, distance=loss.distance, normalise=loss.normalise,
                                threshold=loss.threshold, closer=loss.closer, **common)
        return {"loss": iou + loss.weight * sa, "iou_loss": iou, "sa_loss": sa}

    def evaluate(self, network: AVSNet, loader: Loader, progress) -> dict[str, float]:
        """The original's averages of batches (``miou``, ``f_score``) and those of the whole data set."""
        averages = BatchAverage(), DatasetAverage()
        for batch in progress(loader.epoch(0), "evaluate", len(loader)):
            logits = self._outputs(network, batch)[0].numpy()[:, 0]
            target = batch["mask"].numpy().reshape(-1, *logits.shape[1:])
            if len(target) < len(logits):  # S4's training split: the first frames only
                logits = logits[::len(logits) // len(target)]
            for average in averages:
                average.update(logits, target)
            if self.config.save_masks:
                self._save_masks(batch, logits)
        for average in averages:
            average.merge(distributed.gather(average))
        return {**averages[0].values(), **averages[1].values()}

    def _save_masks(self, batch: dict[str, Any], logits: np.ndarray) -> None:
        per_video = logits.reshape(len(batch["name"]), -1, *logits.shape[1:])
        for name, category, frames in zip(batch["name"], batch["category"], per_video, strict=True):
            folder = Path(self.config.output_dir) / "pred_masks" / category / name
            for index, frame in enumerate(frames):
                write_mask(folder / f"{name}_{index}.png", sigmoid(frame) > 0.5)

    def predict(self, network: AVSNet, path: str, *, masks_per: str = "second", without_sound: bool = False,
                stream: bool = False, stream_every: float = 1.0):
        """Masks of a video of any length, in windows of ``network.frames`` seconds; or of a stream as it arrives."""
        network.eval()
        if stream:
            from systems.avs_stream import watch
            return watch(self, network, path, every=stream_every, without_sound=without_sound)
        video = SoundVideo(path, frames=self.config.network.frames, size=self.config.data.size,
                           without_sound=without_sound)
        masks = np.zeros((video.count(masks_per), self.config.data.size, self.config.data.size), np.uint8)
        for window in video.windows(masks_per):
            masks[window.places] = self.masks(network, window.image, window.log_mel)[:len(window.places)]
        return SoundMasks(path, masks, frame_numbers=video.numbers(masks_per), read=video.reader.frames, fps=video.fps,
                          frame_count=len(video.reader), audio=video.wave, rate=video.rate, masks_per=masks_per)

    def masks(self, network: AVSNet, image: np.ndarray, log_mel: np.ndarray) -> np.ndarray:
        """One video's ``image [T, 3, H, W]`` and ``log_mel [T, 1, 96, 64]`` -> bool ``[T, H, W]``."""
        with paddle.no_grad():
            sound = self.listener.features(paddle.to_tensor(log_mel))
            logits = network(paddle.to_tensor(image), sound)[0]
        return paddle.nn.functional.sigmoid(logits).numpy()[:, 0] > 0.5

    def inference_graphs(self, network: AVSNet) -> dict[str, Graph]:
        """Frames and log-mel of whole videos to logits, VGGish included."""
        T = self.config.network.frames
        inputs = [InputSpec([-1, T, 3, -1, -1], "float32", "image"),
                  InputSpec([-1, T, 1, 96, 64], "float32", "log_mel")]
        return {"inference": Graph(_Deployed(network, self.listener), inputs, ["logits"])}

    def description(self) -> dict[str, Any]:
        return {"system": "avs", "task": "segmentation", "labels": ["silent", "sounding"], "scores": "logits",
                "config": to_dict(self.config),
                "preprocessing": {"image": {"size": self.config.data.size, "frame": "at 15/16 of each second",
                                            "mean": MEAN.tolist(), "std": STD.tolist(), "colour": "RGB in 0..1"},
                                  "log_mel": "VGGish patches of 0.96 s at 16 kHz, one per frame",
                                  "output": "logits [B, T, H, W]; sounding where the sigmoid is above 0.5"}}

    @classmethod
    def inference_inputs(cls, description: dict[str, Any], path: str | Path) -> dict[str, np.ndarray]:
        """A video as inputs of the exported graph, one row per window."""
        config = build(AVSConfig, description["config"], "deploy.yaml")
        video = SoundVideo(path, frames=config.network.frames, size=config.data.size)
        windows = list(video.windows("second"))
        return {"image": np.stack([window.image for window in windows]),
                "log_mel": np.stack([window.log_mel for window in windows])}


class _Deployed(paddle.nn.Layer):
    """Whole videos in, logits ``[B, T, H, W]`` out."""

    def __init__(self, network: AVSNet, listener: Listener):
        super().__init__()
        self.network, self.vggish, self.pca = network, listener.vggish, listener.pca

    def forward(self, image, log_mel):
        _, T, _, H, W = image.shape
        sound = self.vggish(log_mel.flatten(0, 1))
        if self.pca is not None:
            sound = vggish.postprocess(sound, *self.pca)
        return self.network(image.flatten(0, 1), sound)[0].reshape([-1, T, H, W])


def is_ours(state: dict[str, np.ndarray]) -> bool:
    """Whether the entries have our names (batch norms' ``_mean``)."""
    return any(name.endswith("._mean") for name in state)

"""ActionCLIP's data code restated with NumPy, Pillow and the originals' own random streams; our ``datasets`` unused.

Upstream: clip/clip.py, utils/Text_Prompt.py, datasets/datasets.py, datasets/transforms_ss.py, utils/lr_scheduler.py,
and pytorch-randaugment 48b8f50.
"""
from __future__ import annotations

import html
import math
import random
import zlib

import ftfy
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
PROMPTS = ["a photo of action {}", "a picture of action {}", "Human action of {}", "{}, an action",
           "{} this is an action", "{}, a video of action", "Playing action of {}", "{}",
           "Playing a kind of action, {}", "Doing a kind of action, {}", "Look, the human is {}",
           "Can you recognize the action of {}?", "Video classification of {}", "A video of {}", "The man is {}",
           "The woman is {}"]


def encode(text: str) -> list[int]:
    """Ids with markers; the merges are the package's, the rest is written out."""
    from instant_clip_tokenizer import Tokenizer
    global _merges
    _merges = _merges or Tokenizer()
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    text = " ".join(text.split()).lower()
    ids = [49406]
    while text:
        places = [(text.find(marker), marker, number) for marker, number in
                  (("<|startoftext|>", 49406), ("<|endoftext|>", 49407)) if marker in text]
        if not places:
            return [*ids, *_merges.encode(text), 49407]
        place, marker, number = min(places)
        ids += [*(_merges.encode(text[:place]) if place else []), number]
        text = text[place + len(marker):]
    return [*ids, 49407]


_merges = None


def tokens(run) -> dict[str, np.ndarray]:
    found = [encode(text) for text in run.stage["strings"]]
    found = [ids if len(ids) <= 77 else [] for ids in found]
    made = {"flat": np.array([i for ids in found for i in ids], np.int64),
            "lengths": np.array([len(ids) for ids in found], np.int64)}
    for name, classes in run.stage["class_names"].items():
        table = np.zeros((len(PROMPTS) * len(classes), 77), np.int64)
        for a, prompt in enumerate(PROMPTS):
            for c, label in enumerate(classes):
                ids = encode(prompt.format(label))
                table[a * len(classes) + c, :len(ids)] = ids
        if zlib.crc32(table.astype("<i8").tobytes()) != run.stage["crc32"].get(name, zlib.crc32(table.tobytes())):
            raise ValueError(f"the token table of {name} has another CRC than the original's")
        made[f"classes:{name}"] = table
    return made


def _train_indices(n: int, s: int, l: int, loop: bool, seed: int) -> np.ndarray:
    rng = np.random.RandomState(seed)
    if n <= s * l:
        if loop:
            return np.mod(np.arange(s * l) + rng.randint(n // 2), n)
        return np.sort(np.concatenate((np.arange(n), rng.randint(n, size=s * l - n))))
    offsets = []
    ticks = [i * n // s for i in range(s + 1)]
    for i in range(s):
        tick_len = ticks[i + 1] - ticks[i]
        tick = ticks[i]
        if tick_len >= l:
            tick += rng.randint(tick_len - l + 1)
        offsets.extend(range(tick, tick + l))
    return np.array(offsets)


def _val_indices(n: int, s: int, l: int, loop: bool) -> np.ndarray:
    if s == 1:
        return np.array([n // 2])
    if n <= s * l:
        if loop:
            return np.mod(np.arange(s * l), n)
        return np.array([i * n // (s * l) for i in range(s * l)])
    offset = (n / s - l) / 2.0
    return np.array([i * n / s + offset + j for i in range(s) for j in range(l)]).astype(np.int64)


def sampling(run) -> dict[str, np.ndarray]:
    found = []
    for case in run.stage["cases"]:
        n, s, l = case["num_frames"], case["num_segments"], case["seg_length"]
        indices = (_train_indices(n, s, l, case["loop"], case["seed"]) if case["mode"] == "train"
                   else _val_indices(n, s, l, case["loop"]))
        found.append(indices + case["index_bias"])
    return {"flat": np.concatenate(found).astype(np.int64), "lengths": np.array([len(f) for f in found], np.int64)}


def _sample_crop(width: int, height: int, size: int, rng: random.Random) -> list[int]:
    base = min(width, height)
    sizes = [int(base * scale) for scale in [1, 0.875, 0.75, 0.66]]
    heights = [size if abs(x - size) < 3 else x for x in sizes]
    pairs = [(w, h) for i, h in enumerate(heights) for j, w in enumerate(heights) if abs(i - j) <= 1]
    w, h = rng.choice(pairs)
    return [w, h, *rng.choice(_offsets(width, height, w, h))]


def _offsets(width: int, height: int, w: int, h: int) -> list[tuple[int, int]]:
    x, y = (width - w) // 4, (height - h) // 4
    return [(0, 0), (4 * x, 0), (0, 4 * y), (4 * x, 4 * y), (2 * x, 2 * y), (0, 2 * y), (4 * x, 2 * y),
            (2 * x, 4 * y), (2 * x, 0), (x, y), (3 * x, y), (x, 3 * y), (3 * x, 3 * y)]


def _tensor(group: list[Image.Image]) -> np.ndarray:
    stacked = np.concatenate([np.asarray(image) for image in group], axis=2)
    x = stacked.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    repeat = len(group)
    return (x - np.tile(MEAN, repeat)[:, None, None]) / np.tile(STD, repeat)[:, None, None]


def _scale(image: Image.Image, size: int) -> Image.Image:
    w, h = image.size
    if (w <= h and w == size) or (h <= w and h == size):
        return image
    if w < h:
        return image.resize((size, int(size * h / w)), Image.Resampling.BICUBIC)
    return image.resize((int(size * w / h), size), Image.Resampling.BICUBIC)


def _validation(group, size: int) -> np.ndarray:
    made = []
    for image in group:
        image = _scale(image, size * 256 // 224)
        left, top = round((image.size[0] - size) / 2.0), round((image.size[1] - size) / 2.0)
        made.append(image.crop((left, top, left + size, top + size)))
    return _tensor(made)


def _training(group, size: int, seed: int, flip: bool) -> np.ndarray:
    rng = random.Random(seed)
    w, h, x, y = _sample_crop(*group[0].size, size, rng)
    group = [image.crop((x, y, x + w, y + h)).resize((size, size), Image.Resampling.BILINEAR) for image in group]
    if rng.random() < 0.5 and flip:
        group = [ImageOps.mirror(image) for image in group]
    if rng.random() < 0.8:
        raise ValueError(f"seed {seed} draws colour jitter, whose own stream is torch's")
    if rng.random() < 0.2:
        group = [Image.merge("RGB", [image.convert("L")] * 3) for image in group]
    rng.random()
    rng.random()
    return _tensor(group)


def _hue(image: Image.Image, factor: float) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    h = Image.fromarray(((np.array(h).astype(int) + int(factor * 255)) % 256).astype(np.uint8))
    return Image.merge("HSV", (h, s, v)).convert("RGB")


JITTER = {"brightness": lambda image, v: ImageEnhance.Brightness(image).enhance(v),
          "contrast": lambda image, v: ImageEnhance.Contrast(image).enhance(v),
          "saturation": lambda image, v: ImageEnhance.Color(image).enhance(v), "hue": _hue}


def _solarize_add(image, v):
    array = np.clip(np.array(image).astype(int) + int(v), 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(array), 128)


def _cutout(image, v, rng=None):
    rng = rng or np.random.RandomState(21)
    w, h = image.size
    x0, y0 = rng.uniform(w), rng.uniform(h)
    x0, y0 = int(max(0, x0 - v / 2.0)), int(max(0, y0 - v / 2.0))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((x0, y0, min(w, x0 + v), min(h, y0 + v)), (125, 123, 114))
    return image


def _transform(*matrix):
    return lambda image, v: image.transform(image.size, Image.Transform.AFFINE,
                                            [v if m == "v" else m for m in matrix])


AUGMENT = {
    "AutoContrast": lambda image, v: ImageOps.autocontrast(image),
    "Equalize": lambda image, v: ImageOps.equalize(image),
    "Invert": lambda image, v: ImageOps.invert(image), "Rotate": lambda image, v: image.rotate(v),
    "Posterize": lambda image, v: ImageOps.posterize(image, max(1, int(v))),
    "Solarize": lambda image, v: ImageOps.solarize(image, v), "SolarizeAdd": _solarize_add,
    "Color": JITTER["saturation"], "Contrast": JITTER["contrast"], "Brightness": JITTER["brightness"],
    "Sharpness": lambda image, v: ImageEnhance.Sharpness(image).enhance(v),
    "ShearX": _transform(1, "v", 0, 0, 1, 0), "ShearY": _transform(1, 0, 0, "v", 1, 0), "CutoutAbs": _cutout,
    "TranslateXabs": _transform(1, 0, "v", 0, 1, 0), "TranslateYabs": _transform(1, 0, 0, 0, 1, "v")}


def transform(run) -> dict[str, np.ndarray]:
    made = {}
    for case in run.stage["cases"]:
        if case["key"] is None:
            for seed, names in zip(case["seeds"], case["names"], strict=True):
                if random.Random(seed).choices(list(AUGMENT), k=2) != names:
                    raise ValueError(f"RandAugment draws other operations after seed {seed}")
            continue
        made[case["key"]] = _case(case, run.inputs)
    return made


def _case(case: dict, inputs: dict) -> np.ndarray:
    key, (kind, _, name) = case["key"], case["key"].partition(":")
    if key == "crops":
        return np.array([_sample_crop(*size, 112, random.Random(seed)) for seed in case["seeds"]
                         for size in case["sizes"]], np.int64)
    if key == "offsets":
        return np.array([_offsets(*size) for size in case["sizes"]], np.int64)
    if key == "three_crop_offsets":
        return np.array([[(0, 0), ((w - h) // 2, 0), ((w - h) // 2 * 2, 0)] for w, h in case["sizes"]], np.int64)
    group = [Image.fromarray(frame) for frame in inputs[case["input"]]]
    if "augmentation(False)" in case["op"]:
        return _validation(group, case["input_size"])
    if kind.startswith("train"):
        return _training(group, case["input_size"], case["seed"], "something" not in kind)
    operations = {"scale128": lambda image: _scale(image, 128),
                  "grayscale": lambda image: Image.merge("RGB", [image.convert("L")] * 3),
                  "solarize": lambda image: ImageOps.solarize(image, 128),
                  "blur": lambda image: image.filter(ImageFilter.GaussianBlur(case["sigma"]))}
    if kind in operations:
        return np.stack([np.asarray(operations[kind](image)) for image in group])
    if kind == "jitter":
        return np.asarray(JITTER[name](group[0], case["value"]))
    return np.asarray(AUGMENT[name.split(":")[0]](group[1], case["value"]))


def schedule(run) -> dict[str, np.ndarray]:
    """The schedulers as objects that are stepped, with the training loop's own calls."""
    spec, n = run.stage["solver"], run.stage["iterations"]
    bases = [spec["lr"], spec["lr"] * spec["ratio"], spec["lr"] * spec["f_ratio"]]
    warm, total = spec["lr_warmup_step"], spec["epochs"]
    steps = list(range(spec["lr_decay_step"], total, spec["lr_decay_step"]))

    def cosine(base, e):
        return base * e / warm if e < warm else base * (math.cos(math.pi * min(1, (e - warm) / (total - warm))) + 1) / 2

    def multistep(base, e):
        return base * e / warm if e < warm else base * 0.1 ** sum(e >= step for step in steps)

    made = {}
    for name, rule in (("cosine", cosine), ("multistep", multistep)):
        table = []
        for epoch in run.stage["epochs"]:
            current = None
            for k in range(n):
                if k == 0 or (k + 1) % 10 == 0:
                    current = [rule(base, epoch + k / n) for base in bases]
                table.append(current)
        made[name] = np.array(table).reshape(len(run.stage["epochs"]), n, len(bases))
    return made

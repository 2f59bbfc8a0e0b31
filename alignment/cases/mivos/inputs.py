"""What both sides of a MiVOS case are fed, from a manifest's inputs. NumPy only; no network knows this file."""
from __future__ import annotations

import ast
from itertools import product

import numpy as np

Arrays = dict[str, np.ndarray]


def layers(run) -> set[str]:
    """Upstream's names of the layers with weights, whose outputs are compared where a whole run asks for them."""
    return {name.rpartition(".")[0] for name in run.state} if run.wanted is None else set()


def enlarge(array: np.ndarray, times: int = 4) -> np.ndarray:
    """Repeat every pixel of the last two axes ``times`` x ``times``."""
    return array.repeat(times, -2).repeat(times, -1)


def labels(owner: np.ndarray) -> np.ndarray:
    """int64 labels at full size from the ``owner`` input (floor = label)."""
    return enlarge(np.floor(owner).astype(np.int64))


def one_hot(label: np.ndarray, count: int, dtype: str) -> np.ndarray:
    """``[H, W]`` -> objects 1..count, ``[count, 1, H, W]``."""
    return np.stack([label == i + 1 for i in range(count)])[:, None].astype(dtype)


def propagation_steps(run) -> Arrays:
    """Frames, masks of one object ``[T, 1, 1, H, W]`` and of k objects ``[T, K, 1, H, W]``."""
    frame, probs = run.inputs["frame"], run.inputs["probs"]
    count = int(run.manifest["inputs"]["owner"]["range"][1]) - 1
    owner = labels(run.inputs["owner"])
    return {"frame": frame[:, None], "mask1": enlarge(run.inputs["mask1"]), "probs": probs,
            "masks": np.stack([one_hot(label, count, run.dtype) for label in owner])}


def propagation_train(run) -> Arrays:
    """A batch of three frames: rgb [B, 3, 3, H, W]; gt, sec_gt [B, 3, 1, H, W]; cls_gt [B, 3, H, W]; selector."""
    label, selector = labels(run.inputs["owner"]), run.inputs.get("selector")  # single objects need none
    single = bool(run.config.get("single_object", False))
    if selector is not None:
        label = np.where((label == 2) & (selector[:, 1] < 0.5)[:, None, None, None], 0, label)
    if single:
        label = np.minimum(label, 1)
    batch = {"rgb": run.inputs["rgb"], "gt": (label == 1)[:, :, None].astype(run.dtype), "cls_gt": label}
    if not single:
        batch |= {"sec_gt": (label == 2)[:, :, None].astype(run.dtype), "selector": selector}
    return batch


def fusion(run) -> Arrays:
    """A batch of fusion samples under the dataset's names; a missing second object is zeros."""
    batch = dict(run.inputs)
    for name in ("src2_ref_gt", "src2_ref_gt2", "gt", "gt2"):
        batch[name] = enlarge(batch[name])
    present = batch["selector"][:, 1][:, None, None, None]
    for name in ("gt2", "src2_ref_gt2", "seg12", "seg22", "src2_ref2"):
        batch[name] = batch[name] * present
    target = np.where(batch["gt2"] > 0.5, 2, np.where(batch["gt"] > 0.5, 1, 0))
    return batch | {"cls_gt": target[:, 0].astype(np.int64)}


def s2m(run) -> Arrays:
    """The evaluation input ``x [1, 6, H, W]``, the training input ``batch [B, 6, H, W]`` and its labels."""
    made: Arrays = {}
    if "x" in run.inputs:
        made["x"] = np.concatenate([run.inputs["x"], enlarge(run.inputs["x_rest"])], 1)
    if "rgb" in run.inputs:
        rest = enlarge(run.inputs["rest"])
        made["batch"] = np.concatenate([run.inputs["rgb"] + run.inputs["shift"], rest[:, :3]], 1)
        made["cls_gt"] = (rest[:, 3] > 0.5).astype(np.int64)
    return made


def sequence(run) -> tuple[np.ndarray, list[np.ndarray], list[int]]:
    """Images ``[1, T, 3, H, W]``, one mask ``[K+1, 1, H, W]`` per interaction, and the frames interacted with."""
    count, about = run.config["num_objects"], run.stage["about"]
    if about.startswith("the same"):
        about = run.manifest["stages"][run.name]["about"]
    frames = [int(v) for v in about.split("for frames [")[1].split("]")[0].split(",")]
    masks = [np.concatenate([(label == 0)[None, None].astype(run.dtype), one_hot(label, count, run.dtype)])
             for label in labels(run.inputs["owner"])]
    return run.inputs["images"], masks, frames


def scribble_paths(run) -> list[tuple[int, np.ndarray]]:
    """(object id, path [n, 2] as x, y in 0..1) in drawing order; the id stands in the input's name."""
    return [(int(name.split("_object")[1]), np.asarray(path, np.float64))
            for name, path in run.inputs.items() if name.startswith("path")]


def to_mask(run) -> tuple[np.ndarray, int, np.ndarray]:
    """(frame [3, H, W], number of objects, current labels [H, W] of the frame interacted with)."""
    about = run.manifest["stages"]["to_mask"]["about"]
    frame = int(about.split("scribbles on frame ")[1].split(";")[0])
    image = run.inputs["images"][0, frame]
    current = labels(run.inputs["prev"])[:image.shape[-2], :image.shape[-1]]
    return image, run.config["num_objects"], current


def report(run) -> tuple[dict, list, dict]:
    """The interactive session of the ``summary`` stage.

    Returns:
        rows {(interaction, sample): (values [objects, 2], seconds)}, samples [(sequence, scribble)],
        objects {sequence: count}.
    """
    about = run.stage["about"]
    objects = dict(zip(_literal(about, "sequences "), _literal(about, "objects "), strict=True))
    samples = list(product(objects, (1, 2, 3)))
    # The bundle counts interactions from 1; from the one named on there are none.
    lost = {(name, scribble): first - 1 for first, name, scribble in _literal(about, "are missing for ")}
    values, seconds = iter(run.inputs["report"]), iter(run.inputs["report_time"])
    rows = {}
    for interaction, sample in product(range(8), samples):
        row = np.array([next(values) for _ in range(objects[sample[0]])]), float(next(seconds))
        if interaction < lost.get(sample, 8):
            rows[interaction, sample] = row
    return rows, samples, objects


def sizes(run) -> list[tuple[int, int]]:
    """Image sizes of the ``pad`` stage."""
    return _literal(run.stage["about"], "for sizes ")


def _literal(text: str, before: str):
    """The Python list that follows ``before`` in a stage's remark."""
    start = text.index(before) + len(before)
    depth = 0
    for end in range(start, len(text)):
        depth += {"[": 1, "]": -1}.get(text[end], 0)
        if not depth:
            return ast.literal_eval(text[start:end + 1])
    raise ValueError(f"no list after {before!r} in {text!r}")


def iterations(run, prefix: str, default: tuple[int, ...]) -> list[int]:
    """Update numbers in the keys ``PREFIXn`` that the bundle holds."""
    found = [int(key[len(prefix):]) for key in run.wanted or () if key.startswith(prefix)]
    return found or list(default)


def tracked(run) -> list[str]:
    """Running statistics that the training stage of s2m records."""
    found = [name for name in run.wanted or () if "running_" in name]
    return found or [f"{layer}.{kind}" for kind in ("running_mean", "running_var") for layer in (
        "backbone.bn1", "backbone.layer4.2.bn3", "classifier.aspp.convs.4.2", "classifier.classifier.1")]


def ellipses(table: np.ndarray, frames: int, height: int, width: int) -> np.ndarray:
    """uint8 label maps ``[frames, H, W]`` of rows [frame, label, cy, cx, ry, rx]; a later one overwrites."""
    maps = np.zeros((frames, height, width), np.uint8)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    for frame, label, cy, cx, ry, rx in table:
        maps[int(frame)][((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1] = int(label)
    return maps


def sampling_cases(run) -> list[tuple[str, int, int]]:
    """(key, frames, max_jump) from the keys the bundle holds (``n30_jump10``)."""
    keys = run.wanted or ["n3_jump5", "n8_jump5", "n30_jump5", "n30_jump10", "n70_jump25", "n6_jump1", "n20_jump4"]
    return [(key, *(int(part.lstrip("njump")) for part in key.split("_"))) for key in keys]


ELLIPSES = {"small": ("ellipses_gt", "ellipses_pred", (5, 96, 110), 3),
            "davis": ("ellipses_gt480", "ellipses_pred480", (2, 480, 854), 2)}


def summaries(run, summary) -> dict:
    """``summary(values, samples, max_time)`` of the recorded report, by J and F together and by J alone."""
    rows, samples, objects = report(run)
    out, max_time = {}, 240.0 * np.mean([objects[name] for name, _ in samples])
    for name, columns in (("J_AND_F", (0, 1)), ("J", (0,))):
        made = summary({place: (row[:, columns].mean(1), seconds) for place, (row, seconds) in rows.items()}, samples,
                       max_time)
        out |= {f"{name}_auc": made["auc"], f"{name}_at60": made["at"], f"{name}_time": made["time"],
                f"{name}_curve": made["curve"]}
    return {name: np.asarray(value, np.float64) for name, value in out.items()}

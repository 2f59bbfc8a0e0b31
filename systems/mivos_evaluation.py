"""How MiVOS is judged: semi-supervised DAVIS, the interactive loop, YouTubeVOS' output, scores of the parts."""
from __future__ import annotations

import csv
import io
import time
from pathlib import Path

import numpy as np

from datasets.davis import Sequence, write_labels
from datasets.davis_robot import make_robot
from datasets.scribbles import annotated_frames, positive_negative, read_scribbles, scribble_map, strokes_of
from engine import distributed
from engine.files import atomic_write
from metrics.davis import SemiSupervised, frame_scores, interactive_summary
from models.mivos.appearing import AppearingObjects
from models.mivos.s2m import scribbles_to_mask
from systems.mivos_video import Images, label_probabilities, start_core

SCHEDULE = (2, 5, 7)  # the interactions (from 0) after which masks are carried through the video
INTERACTIONS, SECONDS_PER_OBJECT = 8, 30.0


def evaluate(system, network, loader, progress) -> dict[str, float]:
    """The configured protocol for the propagation; two rounds with and without fusion; IoU of scribble-to-mask."""
    if system.config.part == "s2m":
        return _evaluate_s2m(network, loader, progress)
    networks, source = system.companions(network), loader.dataset.source
    places = [int(batch["index"].item()) for batch in loader.epoch(0)]
    sequences = progress((source[place] for place in places), "evaluate", len(places))
    if system.config.part == "fusion":
        return _evaluate_fusion(system, networks, sequences)
    protocol = {"semi": semi_supervised, "interactive": interactive, "youtube": youtube}
    return protocol[system.config.inference.protocol](system, networks, sequences, source)


def semi_supervised(system, networks, sequences, source=None) -> dict[str, float]:
    """DAVIS 2016 or 2017 from the first frame's annotation; tables as CSV in ``output_dir``."""
    options, measures = system.config.inference, SemiSupervised()
    for video in sequences:
        result = carry_first_mask(video, networks, options)
        if options.save_masks:
            _save(Path(options.save_masks) / video.name, video, result)
        if len(video.annotations) == len(video.frames):  # test-dev keeps its annotations to itself
            truth = np.stack([video.labels(t) for t in range(len(video.frames))])
            measures.add(video.name, truth, result, video.objects())
    measures.rows = [row for rows in distributed.gather(measures.rows) for row in rows]
    if not measures.rows:
        return {}
    _write_csv(Path(system.config.output_dir) / "per_object.csv", measures.rows)
    _write_csv(Path(system.config.output_dir) / "per_sequence.csv",
               [{"sequence": name, **values} for name, values in measures.by_sequence().items()])
    return measures.result()


def carry_first_mask(video: Sequence, networks, options) -> np.ndarray:
    """Labels uint8 ``[T, H, W]`` of a whole video from its first annotation.

    Upstream's evaluation softens even a one-hot mask before it is memorised, resizes probabilities (bilinear) to the
    annotation and takes the largest.
    """
    objects, first = video.objects(), video.labels(0)
    images = Images.of_sequence(video, options.short_side)
    core = start_core(networks, images, max(len(objects), 1), options, fuse=False)
    prob = label_probabilities(_numbered(first, objects), core.k, images.size)
    core.interact(prob, 0, soften=True)
    labels = np.array([0, *objects], np.uint8)
    return np.stack([labels[core.labels_at(t, first.shape)] for t in range(core.length)])


def youtube(system, networks, sequences, source=None) -> dict[str, float]:
    """YouTubeVOS: objects join when their first annotation appears. Writes palette PNGs, returns how many videos."""
    folder, count = Path(system.config.inference.save_masks or Path(system.config.output_dir) / "Annotations"), 0
    for video in sequences:
        options = system.config.inference
        images = Images.of_sequence(video, options.short_side)
        labels = sorted({int(i) for t in video.annotations for i in np.unique(video.labels(t)) if i})
        core = AppearingObjects(propagation=networks["propagation"], frames=images, num_objects=len(labels),
                                mem_freq=options.mem_freq)
        seen: set[int] = set()
        marked = sorted(video.annotations)
        for place, frame in enumerate(marked):
            annotation = _numbered(video.labels(frame), labels)
            fresh = sorted({int(i) for i in np.unique(annotation) if i} - seen)
            if not fresh:
                continue
            seen |= set(fresh)
            ends = [f for f in marked[place + 1:] if set(np.unique(_numbered(video.labels(f), labels))) - seen - {0}]
            core.add(label_probabilities(annotation, len(labels), images.size), frame, fresh,
                     until=ends[0] if ends else core.length - 1)
        original = np.array([0, *labels], np.uint8)
        shape = video.image(0).size[::-1]
        result = {t: original[core.labels_at(t, shape)] for t in range(marked[0], core.length)}
        _save(folder / video.name, video, result)
        count += 1
    return {"videos": float(sum(distributed.gather(count)))}


def interactive(system, networks, sequences, source) -> dict[str, float]:
    """The DAVIS interactive loop: up to 8 interactions of a robot that scribbles where the result is worst."""
    if networks["s2m"] is None:
        raise ValueError("the interactive protocol starts from scribbles: set network.s2m_weights")
    rows, budgets, options = {}, {}, system.config.inference
    for video in sequences:
        truth = np.stack([video.labels(t) for t in range(len(video.frames))])
        objects = video.objects()
        budgets[video.name] = len(objects)
        for start in source.scribbles(video.name):
            session = _session(video, truth, objects, networks, options, read_scribbles(start),
                               make_robot(options.robot, np.random.default_rng(system.config.seed)))
            for interaction, (scores, seconds) in enumerate(session):
                rows[interaction, (video.name, start.stem)] = scores, seconds
    for other_rows, other_budgets in distributed.gather((rows, budgets)):
        rows, budgets = {**rows, **other_rows}, {**budgets, **other_budgets}
    if not rows:
        raise ValueError("no first scribbles found: DAVIS' interactive set has Scribbles/SEQUENCE/001.json ...")
    limit = SECONDS_PER_OBJECT * INTERACTIONS * float(np.mean(list(budgets.values())))
    out = {}
    for name, columns in (("J&F", (0, 1)), ("J", (0,)), ("F", (1,))):
        found = interactive_summary({key: (scores[:, columns].mean(1), seconds) for key, (scores, seconds) in
                                     rows.items()}, interactions=INTERACTIONS, max_time=limit)
        out |= {f"AUC-{name}": found["auc"], f"{name}@60s": found["at"], f"{name} last": found["curve"][-1]}
    table = [{"sequence": s, "scribbles": n, "interaction": i + 1, "J": float(scores[:, 0].mean()),
              "F": float(scores[:, 1].mean()), "seconds": seconds} for (i, (s, n)), (scores, seconds) in rows.items()]
    _write_csv(Path(system.config.output_dir) / "interactive.csv", table)
    return out


def _session(video, truth, objects, networks, options, scribbles, robot):
    """Yields (J and F of every object, mean over all frames; seconds) after each interaction."""
    images = Images.of_sequence(video, options.short_side)
    core = start_core(networks, images, len(objects), options)
    original = np.array([0, *objects], np.uint8)
    numbers = {label: place for place, label in enumerate(objects, 1)} | {0: 0}
    used: set[int] = set()
    frame = annotated_frames(scribbles)[0]
    strokes = strokes_of(scribbles, frame)
    for interaction in range(INTERACTIONS):
        begun = time.perf_counter()
        renamed = [(numbers[label], path) for label, path in strokes]

        def draw(height, width, strokes=renamed):
            return positive_negative(scribble_map(strokes, height, width), core.k)

        _, prob, _ = scribbles_to_mask(networks["s2m"], images[frame], core.labels_at(frame), core.k, draw,
                                       displaced=options.displaced_scribbles)
        if interaction in SCHEDULE:
            core.interact(core.unpadded(prob), frame)
        else:
            core.update_mask_only(prob, frame)
        seconds = time.perf_counter() - begun
        result = np.stack([original[core.labels_at(t, truth.shape[1:])] for t in range(core.length)])
        scores = np.array([frame_scores(t, g, objects) for t, g in zip(truth, result, strict=True)])
        yield scores.mean(0), seconds
        if interaction in SCHEDULE:  # the worst frame that the robot has not used; all of them again after the last
            used = used if len(used) < core.length else set()
            quality = scores.mean((1, 2))
            frame = min((t for t in range(core.length) if t not in used), key=lambda t: quality[t])
            used.add(frame)
        strokes = robot.scribble(truth[frame], result[frame], [0, *objects])
        if not strokes:  # nothing left to correct
            return


def _evaluate_fusion(system, networks, sequences) -> dict[str, float]:
    """Two given masks, on the first and the last frame: the frames between, fused and not."""
    if networks["propagation"] is None:
        raise ValueError("judging the fusion needs a propagation network: set network.propagation_weights")
    found = {"J&F": [], "J&F_unfused": []}
    for video in sequences:
        truth = np.stack([video.labels(t) for t in range(len(video.frames))])
        objects, last = video.objects(), len(video.frames) - 1
        for name, fuse in (("J&F", True), ("J&F_unfused", False)):
            images = Images.of_sequence(video, system.config.inference.short_side)
            core = start_core(networks, images, len(objects), system.config.inference, fuse=fuse)
            for frame in (0, last):
                core.interact(label_probabilities(_numbered(truth[frame], objects), core.k, images.size), frame)
            original = np.array([0, *objects], np.uint8)
            found[name] += [frame_scores(truth[t], original[core.labels_at(t, truth.shape[1:])], objects).mean()
                            for t in range(1, last)]
    gathered = distributed.gather(found)
    return {name: float(np.mean([value for part in gathered for value in part[name]])) for name in found}


def _evaluate_s2m(network, loader, progress) -> dict[str, float]:
    hits = np.zeros(2)
    for batch in progress(loader.epoch(0), "evaluate", len(loader)):
        mask, truth = (network(batch["input"])[:, 0] > 0).numpy(), (batch["cls_gt"] > 0).numpy()
        hits += (mask & truth).sum(), (mask | truth).sum()
    hits = sum(distributed.gather(hits))
    return {"iou": float((hits[0] + 1) / (hits[1] + 1))}


def _numbered(labels: np.ndarray, objects: list[int]) -> np.ndarray:
    """Ids -> 1, 2, ... in the order of ``objects``; others become background."""
    table = np.zeros(256, np.uint8)
    table[objects] = np.arange(1, len(objects) + 1)
    return table[labels]


def _save(folder: Path, video: Sequence, result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    items = result.items() if isinstance(result, dict) else enumerate(result)
    for frame, labels in items:
        write_labels(folder / f"{video.frames[frame].stem}.png", labels)


def _write_csv(path: Path, rows: list[dict]) -> None:
    if not distributed.is_main():
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue())

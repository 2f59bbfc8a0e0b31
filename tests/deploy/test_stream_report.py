"""What a watched stream leaves behind."""
import json

import numpy as np

from deploy import stream_report


def test_numbers_of_all_masks_and_pictures_of_the_newest(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_report, "KEPT", 3)
    report = stream_report.StreamReport("camera")
    for index in range(5):
        mask = np.zeros((4, 4), bool)
        mask[:index] = True
        report.add(float(index), 0.1 * (index + 1), np.zeros((32, 48, 3), np.uint8), mask)
    report.finish(arrived=50, elapsed=5.0)
    document = json.loads(report.save(tmp_path / "out").read_text())
    assert [entry["share"] for entry in document["masks"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert document["masks_per_second"] == 1.0 and document["frames_per_second"] == 10.0
    np.testing.assert_allclose([document["latency_ms_median"], document["latency_ms_worst"]], [300, 500])
    kept = sorted(path.name for path in (tmp_path / "out/pred_masks").iterdir())
    assert kept == ["stream_00002.png", "stream_00003.png", "stream_00004.png"]
    assert (tmp_path / "out/overlay.mp4").is_file()

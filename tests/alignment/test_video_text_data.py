"""The recorded data bundles of ActionCLIP and X-CLIP: tokens, sampling, transforms, losses, metrics, schedules."""
import pytest

from alignment import golden
from alignment.bundle import Bundle


@pytest.mark.parametrize("side", ["paddle", "torch"])
@pytest.mark.parametrize("system", ["actionclip", "xclip"])
def test_every_recorded_value(shared, system, side):
    if side == "torch":
        pytest.importorskip("torch")
    result = golden.run_bundle(Bundle.read(shared / "golden" / system / "data"), side)
    assert [verdict for verdict in result.verdicts if not verdict.passed] == []
    assert len(result.verdicts) == {"actionclip": 69, "xclip": 55}[system]

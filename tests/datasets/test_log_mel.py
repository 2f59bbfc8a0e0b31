"""The log-mel front end, its reader of pickled tensors, the resampler."""
import io
import pickle

import numpy as np
import pytest

from datasets.log_mel import (
    PATCH_SAMPLES,
    SILENCE,
    fit_patches,
    hann,
    log_mel_patches,
    mel_matrix,
    patches_at,
    read_log_mel,
)
from datasets.resampling import kaiser_best


def test_one_window_worked_out():
    wave = np.random.default_rng(0).uniform(-1, 1, PATCH_SAMPLES)
    spectrum = np.abs(np.fft.rfft(wave[160:560] * hann(), 512))
    np.testing.assert_allclose(log_mel_patches(wave)[0, 1], np.log(spectrum @ mel_matrix() + 0.01), atol=1e-12)


@pytest.mark.parametrize(("samples", "patches"), [(0, 0), (399, 0), (15_599, 0), (15_600, 1), (77_039, 4), (77_040, 5),
                                                  (92_400, 6)])
def test_number_of_patches(samples, patches):
    assert log_mel_patches(np.zeros(samples)).shape == (patches, 96, 64)


def test_silence_is_the_floor_and_channels_are_averaged():
    wave = np.random.default_rng(1).uniform(-1, 1, PATCH_SAMPLES)
    np.testing.assert_allclose(log_mel_patches(np.stack([wave, -wave], 1)), SILENCE, atol=1e-12)


def test_patches_are_repeated_cut_or_refused():
    patches = np.arange(7.0).reshape(7, 1, 1)
    assert fit_patches(patches, 5).ravel().tolist() == [0, 1, 2, 3, 4]
    assert fit_patches(patches[:2], 5).ravel().tolist() == [0, 1, 1, 1, 1]
    with pytest.raises(ValueError, match=r"clip\.mp4 is shorter"):
        fit_patches(patches[:0], 5, "clip.mp4")


def test_a_patch_from_any_place():
    wave = np.random.default_rng(2).uniform(-1, 1, 3 * PATCH_SAMPLES)
    np.testing.assert_array_equal(patches_at(wave, np.array([0.96]))[0], log_mel_patches(wave)[1])


@pytest.mark.parametrize("legacy", [True, False])
def test_reads_the_originals_pickles(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    tensor = torch.rand(5, 1, 96, 64).transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()
    assert tensor.shape == (5, 1, 96, 64) and not tensor.is_contiguous()
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(tensor.cpu()) if legacy else pickle.dumps(tensor, protocol=4))
    np.testing.assert_array_equal(read_log_mel(path), tensor.detach().numpy())


class Evil:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("content", [pickle.dumps(Evil()), pickle.dumps([1, 2]), b"", b"nothing"])
def test_nothing_else_is_read_or_run(tmp_path, content, capsys):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pkl"):
        read_log_mel(path)
    assert "executed" not in capsys.readouterr().out


def test_our_own_file_and_its_shape(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((5, 1, 96, 64), np.float16))
    assert read_log_mel(tmp_path / "a.npy").dtype == np.float32
    file = io.BytesIO()
    np.save(file, np.zeros((5, 96, 64)))
    (tmp_path / "b.npy").write_bytes(file.getvalue())
    with pytest.raises(ValueError, match="n 1 96 64"):
        read_log_mel(tmp_path / "b.npy")
    with pytest.raises(FileNotFoundError, match="preprocessing"):
        read_log_mel(tmp_path / "c.pkl")


def test_a_tone_keeps_its_pitch_when_resampled():
    old, new = 8000, 16000
    wave = np.sin(2 * np.pi * 440 * np.arange(2000) / old)
    made = kaiser_best(wave, old, new)
    assert len(made) == 4000
    want = np.sin(2 * np.pi * 440 * np.arange(4000) / new)
    np.testing.assert_allclose(made[400:-400], want[400:-400], atol=1e-3)
    with pytest.raises(ValueError, match="positive"):
        kaiser_best(wave, 0, new)

# SPDX-License-Identifier: Apache-2.0
"""Calibration data becomes arrays of the inputs' shape, checked, scaled and recorded."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mcudeploy.errors import InputError
from mcudeploy.frontend import calibration
from mcudeploy.frontend.calibration import ModelInput, evenly_spaced, load, synthetic

GREY = ModelInput("image", (8, 8, 1))
COLOUR = ModelInput("image", (4, 6, 3))


def _npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("key", ["image", "x", "x_train", "anything"])
def test_an_npz_is_found_by_the_inputs_name_or_the_usual_keys(tmp_path: Path, key: str) -> None:
    data = np.random.default_rng(0).random((10, 8, 8, 1))
    path = _npz(tmp_path / "d.npz", **{key: data})
    samples, record = load(path, [GREY])
    assert samples["image"].dtype == np.float32
    np.testing.assert_array_equal(samples["image"], data.astype(np.float32))
    assert record.kind == "npz" and record.source == "d.npz" and record.scaling == "none"
    assert (record.samples, record.available, record.synthetic) == (10, 10, False)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert json.loads(json.dumps(record.to_json()))["minimum"] == pytest.approx(data.min())


def test_two_inputs_are_taken_by_name_and_must_have_as_many_samples(tmp_path: Path) -> None:
    specs = [ModelInput("b in", (3,)), ModelInput("a", (2,), "int32")]
    good = _npz(tmp_path / "g.npz", **{"b in": np.ones((5, 3)), "a": np.ones((5, 2), int)})
    samples, _ = load(good, specs)
    assert samples["b in"].shape == (5, 3) and samples["a"].dtype == np.int32
    with pytest.raises(InputError, match="'b in'; there are: x"):
        load(_npz(tmp_path / "n.npz", x=np.ones((5, 3))), specs)
    uneven = _npz(tmp_path / "u.npz", **{"b in": np.ones((5, 3)), "a": np.ones((4, 2), int)})
    with pytest.raises(InputError, match="different numbers"):
        load(uneven, specs)


@pytest.mark.parametrize(
    ("array", "problem", "mend"),
    [
        (np.ones((10, 28, 28, 1)), r"\(10, 28, 28, 1\).*\(samples, 8, 8, 1\)", "shape"),
        (np.ones((10, 8, 8)), r"\(10, 8, 8\)", "channel axis"),
        (np.array([["a"]]), "not numbers", ""),
        (np.full((2, 8, 8, 1), np.nan), "NaN", "remove"),
        (np.empty((0, 8, 8, 1)), "no sample", ""),
    ],
)
def test_unsuitable_arrays_are_refused_with_both_shapes(
    tmp_path: Path, array: object, problem: str, mend: str
) -> None:
    with pytest.raises(InputError, match=problem) as raised:
        load(_npz(tmp_path / "d.npz", x=array), [GREY])
    assert mend in raised.value.mend


def test_channels_first_gets_its_own_mend(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        load(_npz(tmp_path / "d.npz", x=np.ones((2, 3, 4, 6))), [COLOUR])
    assert "transpose" in raised.value.mend


def test_pickles_broken_archives_and_other_files_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04")
    (tmp_path / "c.csv").write_text("1,2")
    for name in ("p.npy", "b.npz", "c.csv", "missing.npz"):
        with pytest.raises(InputError):
            load(tmp_path / name, [GREY])


def test_pixels_are_scaled_only_when_told_and_only_as_uint8(tmp_path: Path) -> None:
    pixels = np.array([0, 255] * 32, np.uint8).reshape(1, 8, 8, 1)
    path = _npz(tmp_path / "d.npz", x=pixels)
    for scaling, low, high in ((None, 0, 255), ("0..1", 0, 1), ("-1..1", -1, 1)):
        _, record = load(path, [GREY], scaling=scaling)  # type: ignore[arg-type]
        assert (record.minimum, record.maximum) == (low, high)
        assert record.scaling == (scaling or "none")
    with pytest.raises(InputError, match="uint8"):
        load(_npz(tmp_path / "f.npz", x=np.ones((1, 8, 8, 1))), [GREY], scaling="0..1")
    with pytest.raises(InputError, match="unknown scaling"):
        load(path, [GREY], scaling="0..2")  # type: ignore[arg-type]


def test_a_folder_of_images_is_resized_scaled_and_recorded(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    Image.new("RGB", (30, 20), (255, 0, 0)).save(folder / "red.png")
    Image.new("L", (6, 4), 255).save(folder / "deep" / "white.jpg")
    (folder / "notes.txt").write_text("no image")
    samples, record = load(folder, [COLOUR])
    assert samples["image"].shape == (2, 4, 6, 3)
    np.testing.assert_allclose(samples["image"][0], 1, atol=0.01)  # deep/white.jpg sorts first
    np.testing.assert_allclose(samples["image"][1, 0, 0], [1, 0, 0])
    assert "resized to 4x6" in record.scaling and "0..1" in record.scaling
    assert record.kind == "images" and len(record.sha256) == 64
    assert load(folder, [COLOUR])[1] == record
    (folder / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="image cannot be read") as raised:
        load(folder, [COLOUR])
    assert "broken.png" in raised.value.where
    with pytest.raises(InputError, match="images suit one input"):
        load(folder, [ModelInput("x", (10,))])


def test_synthetic_samples_are_seeded_and_called_so() -> None:
    first, record = synthetic([GREY, ModelInput("bytes", (3,), "uint8")], seed=3)
    second, _ = synthetic([GREY, ModelInput("bytes", (3,), "uint8")], seed=3)
    np.testing.assert_array_equal(first["image"], second["image"])
    assert record.synthetic and record.seed == 3 and not record.sha256
    assert first["bytes"].max() > 127 and "synthetic" in str(record)


@given(available=st.integers(1, 5000), wanted=st.integers(1, 300))
def test_thinning_out_is_even_and_never_repeats(available: int, wanted: int) -> None:
    picks = evenly_spaced(available, wanted)
    assert len(picks) == min(available, wanted)
    assert len(set(picks)) == len(picks)
    assert picks[0] == 0 and picks[-1] < available
    gaps = np.diff(picks)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_an_archive_that_unpacks_to_more_than_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros((100, 8, 8, 1)))
    monkeypatch.setattr(calibration, "_MAX_ARRAY_BYTES", 1000)
    with pytest.raises(InputError, match="unpacks"):
        load(tmp_path / "d.npz", [GREY])

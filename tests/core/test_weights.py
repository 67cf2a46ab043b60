"""Finding and checking weights: good files give facts, bad ones give one clear line."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nstcore.core.encoders import (
    COMPACT_SHA256,
    LAYERS,
    channels,
    fetch,
    locate,
    torchvision_cache,
    vgg,
)
from nstcore.core.encoders.base import load_encoder
from nstcore.core.encoders.compact import load_compact
from nstcore.core.encoders.vgg import read_state, required_keys
from nstcore.core.settings import Settings
from nstcore.errors import WeightsError

SHARED = Path(__file__).parents[2].parent / "shared/weights/vgg19_oxford_features_fp16.pth"
SHARED_SHA256 = "4679b725647b054f6bb86912a4424360c2cfc505c1adef5a591bdcfc6c4d454a"


def _vgg19(depth: str = "relu5_4", *, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict of VGG-19's shapes that takes a few kilobytes: each filter is one number."""
    random = torch.Generator().manual_seed(seed)
    state, incoming = {}, 3
    names = iter(required_keys(depth))
    for layer in LAYERS[: LAYERS.index(depth) + 1]:
        outgoing = channels(layer)
        filters = torch.randn(outgoing, 1, 1, 1, generator=random) * (2 / (9 * incoming)) ** 0.5
        state[next(names)] = filters.expand(outgoing, incoming, 3, 3)
        state[next(names)] = torch.zeros(outgoing)
        incoming = outgoing
    return state


@pytest.fixture
def good(tmp_path) -> Path:
    path = tmp_path / "vgg19.pth"
    torch.save(_vgg19("relu5_1"), path)
    assert path.stat().st_size < 200_000
    return path


def _refused(path: Path | None, tmp_path: Path) -> str:
    """The one line with which a file is refused; nothing is left behind."""
    destination, facts = tmp_path / "out/vgg19.safetensors", tmp_path / "out/vgg19.json"
    with pytest.raises(WeightsError) as caught:
        fetch("vgg19", None if path is None else str(path), destination, facts)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 500
    assert not destination.exists()
    assert not facts.exists()
    if destination.parent.exists():
        assert not list(destination.parent.iterdir())
    return line


def test_a_good_file_gives_facts_and_loads(good, tmp_path):
    destination, facts = tmp_path / "out/vgg19.safetensors", tmp_path / "out/vgg19.json"
    found = fetch("vgg19", str(good), destination, facts)
    assert found == {
        "name": "vgg19",
        "source": str(good),
        "sha256": hashlib.sha256(good.read_bytes()).hexdigest(),
    }
    assert json.loads(facts.read_text()) == found
    encoder = load_encoder(Settings(encoder="vgg19"), destination, ["relu1_1", "relu3_1"])
    assert list(encoder.convolutions)[-1] == "relu3_1"
    for name, convolution in encoder.convolutions.items():
        index = LAYERS.index(name)
        key = required_keys()[2 * index]
        torch.testing.assert_close(convolution.weight, _vgg19("relu5_1")[key].contiguous())
    with pytest.raises(WeightsError, match=r"features\.30\.weight.*relu5_2") as caught:
        load_encoder(Settings(encoder="vgg19"), destination, ["relu5_2"])
    assert "\n" not in str(caught.value)


def test_safetensors_and_pth_of_any_precision_give_the_same(good, tmp_path):
    other = tmp_path / "vgg19.safetensors"
    state = {key: value.half().contiguous() for key, value in _vgg19("relu5_1").items()}
    state["classifier.0.weight"] = torch.zeros(4, 4)  # what no loss needs is left out
    save_file(state, other)
    outputs = []
    for path in (good, other):
        destination = tmp_path / "out" / path.suffix[1:] / "vgg19.safetensors"
        facts = fetch("vgg19", str(path), destination, destination.with_suffix(".json"))
        assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        outputs.append((facts, read_state(destination)))
    (facts, tensors), (other_facts, other_tensors) = outputs
    assert {k for k in facts if facts[k] != other_facts[k]} == {"source", "sha256"}
    assert set(tensors) == set(other_tensors) == set(required_keys("relu5_1"))
    for key, value in tensors.items():
        assert other_tensors[key].dtype == value.dtype == torch.float32
        torch.testing.assert_close(other_tensors[key], value, rtol=1e-3, atol=1e-6)


def test_a_missing_file_is_named(tmp_path):
    assert "nowhere.pth" in _refused(tmp_path / "nowhere.pth", tmp_path)
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        locate("vgg19", str(tmp_path / "nowhere.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize(
    "content",
    [b"", b"hello\nworld\n", b"PK\x03\x04 torn", b"\x80\x02}q\x00", bytes(range(256)) * 16],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    assert path.name in _refused(path, tmp_path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_torn_file_is_refused(good, tmp_path, suffix):
    path = tmp_path / f"torn{suffix}"
    if suffix == ".pth":
        whole = good.read_bytes()
    else:
        save_file({"features.0.bias": torch.zeros(64)}, path)
        whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    assert path.name in _refused(path, tmp_path)


class _Harm:
    """Creates a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("writer", ["pickle", "torch", "old torch"])
def test_code_in_a_pickle_is_not_executed(tmp_path, writer):
    marker, path = tmp_path / "executed", tmp_path / "evil.pth"
    state = {**_vgg19("relu5_1"), "features.0.weight": _Harm(marker)}
    if writer == "pickle":
        path.write_bytes(pickle.dumps(_Harm(marker), protocol=2))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=writer == "torch")
    line = _refused(path, tmp_path)
    assert not marker.exists()
    assert "evil.pth" in line
    pickle.loads(pickle.dumps(_Harm(marker)))  # the trap works when it is sprung
    assert marker.exists()


@pytest.mark.parametrize("value", [[1, 2], torch.zeros(3), 7, "text"])
def test_a_file_without_a_state_dict_is_refused(tmp_path, value):
    path = tmp_path / "other.pth"
    torch.save(value, path)
    assert "state dict" in _refused(path, tmp_path)


def test_values_that_are_no_tensors_are_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save({**_vgg19("relu5_1"), "features.5.bias": [0.0] * 128}, path)
    assert "features.5.bias" in _refused(path, tmp_path)


@pytest.mark.parametrize("missing", ["features.0.weight", "features.7.bias", "features.28.bias"])
def test_a_missing_key_is_named(tmp_path, missing):
    path = tmp_path / "vgg19.pth"
    torch.save({k: v for k, v in _vgg19("relu5_1").items() if k != missing}, path)
    assert missing in _refused(path, tmp_path)


@pytest.mark.parametrize("missing", ["features.30.weight", "features.32.bias"])
def test_a_gap_after_relu5_1_is_named(tmp_path, missing):
    path = tmp_path / "vgg19.pth"
    torch.save({k: v for k, v in _vgg19("relu5_4").items() if k != missing}, path)
    assert missing in _refused(path, tmp_path)


def test_another_network_is_refused_with_the_shape(tmp_path):
    path = tmp_path / "narrow.pth"
    state = _vgg19("relu5_1")
    state["features.10.weight"] = torch.zeros(1).expand(32, 128, 3, 3)
    torch.save(state, path)
    line = _refused(path, tmp_path)
    assert "features.10.weight" in line
    assert "(256, 128, 3, 3)" in line


def test_a_whole_model_as_a_checkpoint_is_refused_with_the_keys_that_are_wanted(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save({"epoch": 3, "state_dict": _vgg19("relu5_1")}, path)
    assert "features.0.weight" in _refused(path, tmp_path)


# --- torchvision's own download -----------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of torch's own."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch/hub/checkpoints"


def test_the_cache_is_where_torch_looks(tmp_path, monkeypatch):
    from torchvision.models import VGG19_Weights

    name = Path(VGG19_Weights.IMAGENET1K_V1.url).name
    monkeypatch.delenv("TORCH_HOME", raising=False)
    for variables in ({}, {"XDG_CACHE_HOME": str(tmp_path / "x")}, {"TORCH_HOME": str(tmp_path)}):
        with monkeypatch.context() as patch:
            patch.delenv("XDG_CACHE_HOME", raising=False)
            for key, value in variables.items():
                patch.setenv(key, value)
            expected = Path(torch.hub.get_dir()) / "checkpoints" / name
            assert torchvision_cache() == expected


def test_a_downloaded_file_is_used_without_a_network(good, cache, tmp_path, monkeypatch):
    cache.mkdir(parents=True)
    good.rename(cache / "vgg19-dcbb9e9d.pth")
    monkeypatch.setattr(torch.hub, "download_url_to_file", None)
    destination = tmp_path / "out/vgg19.safetensors"
    found = fetch("vgg19", None, destination, destination.with_suffix(".json"))
    assert found["source"] == "torchvision:VGG19_Weights.IMAGENET1K_V1"
    assert len(found["sha256"]) == 64
    assert locate("vgg19", None) == cache / "vgg19-dcbb9e9d.pth"


def test_the_first_use_downloads_and_checks_the_hash(good, cache, tmp_path, monkeypatch):
    from torchvision.models import VGG19_Weights

    served = tmp_path / f"vgg19-{hashlib.sha256(good.read_bytes()).hexdigest()[:8]}.pth"
    good.rename(served)
    monkeypatch.setattr(VGG19_Weights.IMAGENET1K_V1.value, "url", served.as_uri())
    monkeypatch.setattr(vgg, "torchvision_cache", lambda: cache / served.name)
    assert vgg.download() == cache / served.name
    assert (cache / served.name).read_bytes() == served.read_bytes()


def test_a_file_with_another_hash_is_refused_and_not_kept(good, cache, tmp_path, monkeypatch):
    from torchvision.models import VGG19_Weights

    served = tmp_path / "vgg19-dcbb9e9d.pth"
    good.rename(served)
    monkeypatch.setattr(VGG19_Weights.IMAGENET1K_V1.value, "url", served.as_uri())
    line = _refused(None, tmp_path)
    assert "hash" in line
    assert not list(cache.iterdir())


def test_without_a_network_the_line_says_the_three_ways(cache, tmp_path, monkeypatch):
    from torchvision.models import VGG19_Weights

    url = (tmp_path / "offline/vgg19-dcbb9e9d.pth").as_uri()
    monkeypatch.setattr(VGG19_Weights.IMAGENET1K_V1.value, "url", url)
    line = _refused(None, tmp_path)
    assert "Three ways" in line
    assert str(cache) in line
    assert "`weights:`" in line
    with pytest.raises(WeightsError, match="downloaded when the run starts"):
        locate("vgg19", None)


# --- true weights, where they lie beside the repository -----------------------------


@pytest.mark.skipif(not SHARED.is_file(), reason="no shared weights beside the repository")
def test_true_weights_see_a_photograph(tmp_path):
    from skimage import data

    destination = tmp_path / "vgg19.safetensors"
    facts = fetch("vgg19", str(SHARED), destination, tmp_path / "vgg19.json")
    assert facts["sha256"] == SHARED_SHA256
    encoder = load_encoder(Settings(encoder="vgg19"), destination, ["relu5_4"])
    photograph = torch.from_numpy(data.astronaut()[:192, 128:320].copy()).permute(2, 0, 1) / 255
    with torch.no_grad():
        right = encoder(photograph[None], LAYERS)
        wrong = encoder(photograph[None].flip(1) * 255, LAYERS)  # BGR up to 255: not what it wants
    for layer, features in right.items():
        active = float((features > 0).float().mean())
        # A trained network keeps its activations sparse and alive at every layer.
        assert 0.01 < active < 0.95, layer
        assert features.flatten(2).amax(2).count_nonzero() > 0.5 * features.shape[1], layer
    assert float(right["relu1_1"].mean()) < 0.1 * float(wrong["relu1_1"].mean())


# --- the compact encoder ---------------------------------------------------------------


def test_the_compact_encoder_needs_no_file_and_no_network(tmp_path):
    destination = tmp_path / "compact.safetensors"
    found = fetch("compact", None, destination, tmp_path / "compact.json")
    assert found == {"name": "compact", "source": "nstcore", "sha256": COMPACT_SHA256}
    assert json.loads((tmp_path / "compact.json").read_text()) == found
    assert locate("compact", None).is_file()
    encoder = load_encoder(Settings(), destination, ["relu1_1", "relu3_1"])
    assert list(encoder.adapters) == list(encoder.layers)
    image = torch.rand(1, 3, 32, 32)
    expected = load_compact(depth="relu3_1")(image, ["relu3_1"])["relu3_1"]
    torch.testing.assert_close(encoder(image, ["relu3_1"])["relu3_1"], expected)


def test_weights_of_vgg19_are_not_those_of_compact(good, tmp_path):
    with pytest.raises(WeightsError, match=r"vgg19\.pth: cannot be read.*encoder: vgg19"):
        fetch("compact", str(good), tmp_path / "out.safetensors", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()

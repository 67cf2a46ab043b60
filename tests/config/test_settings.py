"""Defaults, presets, and what follows from the settings."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nstcore.config.loader import parse_config, resolve_settings
from nstcore.core.encoders import LAYERS
from nstcore.core.settings import PRESETS, Settings
from nstcore.errors import ConfigError
from nstcore.plan.keys import canonical_settings

PYRAMIDS = st.builds(
    Settings,
    size=st.integers(32, 32768),
    pyramid_start=st.integers(32, 40000),
    pyramid_factor=st.floats(1.1, 8),
    iterations=st.integers(1, 500) | st.lists(st.integers(1, 500), min_size=1, max_size=8),
)


def test_defaults_are_valid_and_stay_what_they_are() -> None:
    default = Settings()
    assert Settings.model_validate(default.model_dump()) == default
    assert Settings.model_validate_json(default.model_dump_json()) == default


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_every_setting_says_what_it_means(name: str) -> None:
    assert len(Settings.model_fields[name].description or "") > 15


@given(PYRAMIDS)
def test_pyramid_levels(settings: Settings) -> None:
    sizes = settings.level_sizes()
    assert sizes[-1] == settings.size
    assert sizes == sorted(set(sizes)), "levels grow strictly"
    assert all(size >= max(32, settings.pyramid_start) for size in sizes[:-1])
    for coarse, fine in itertools.pairwise(sizes):
        # Both are rounded to whole pixels.
        assert math.isclose(fine / coarse, settings.pyramid_factor, rel_tol=1.5 / coarse)
    next_coarser = settings.size / settings.pyramid_factor ** len(sizes)
    assert next_coarser < max(32, settings.pyramid_start) + 0.5


@given(PYRAMIDS)
def test_every_level_has_its_iterations(settings: Settings) -> None:
    counts = settings.level_iterations()
    assert len(counts) == len(settings.level_sizes())
    assert all(count >= 1 for count in counts)
    given_counts = settings.iterations
    if isinstance(given_counts, int):
        assert set(counts) == {given_counts}
    elif len(counts) <= len(given_counts):
        assert counts == given_counts[-len(counts) :]
    else:
        assert counts[: len(given_counts)] == given_counts
        assert set(counts[len(given_counts) :]) == {given_counts[-1]}


def test_a_start_at_or_above_the_size_means_one_level() -> None:
    for start in (256, 1000):
        assert Settings(size=256, pyramid_start=start).level_sizes() == [256]


@given(st.lists(st.sampled_from(LAYERS), min_size=1, unique=True))
def test_layers_are_the_same_in_any_order_and_spelling(names: list[str]) -> None:
    listed = Settings(encoder="vgg19", style_layers=names)  # type: ignore[arg-type]
    mapped = Settings(encoder="vgg19", style_layers=dict.fromkeys(reversed(names), 1.0))
    assert listed == mapped
    assert listed.model_dump_json() == mapped.model_dump_json()
    assert set(listed.layers) == {*names, *listed.content_layers}
    assert list(listed.layers) == sorted(listed.layers, key=LAYERS.index)


def test_a_layer_without_weight_is_not_computed() -> None:
    settings = Settings(style_layers={"relu1_1": 1.0, "relu5_4": 0.0})
    assert "relu5_4" not in settings.layers


@pytest.mark.parametrize(
    ("values", "matters"),
    [
        ({}, False),
        ({"init": "noise"}, True),
        ({"init": "style"}, True),
        ({"init_noise": 0.1}, True),
    ],
)
def test_whether_seeds_matter(values: dict[str, object], matters: bool) -> None:
    assert Settings.model_validate(values).uses_seed is matters


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().size = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_preset_is_a_base(name: str) -> None:
    plain = resolve_settings({"preset": name})
    for key, value in PRESETS[name].items():
        assert getattr(plain, key) == value
    assert plain.size == Settings().size, "what a preset does not say is the default"
    own = resolve_settings({"preset": name, "style_weight": 7, "init": "content"})
    assert (own.style_weight, own.init) == (7, "content")
    assert own.pooling == plain.pooling


@pytest.mark.parametrize("name", sorted(PRESETS))
@pytest.mark.parametrize("key", ["style_weight", "content_weight", "history"])
def test_a_default_that_is_given_overrides_a_preset_too(name: str, key: str) -> None:
    """What counts is that it was written down, not that it differs from the default."""
    default = getattr(Settings(), key)
    config = parse_config(
        {"contents": "a", "styles": "b", "settings": {"preset": name, key: default}}
    )
    assert getattr(resolve_settings(config.settings.explicit), key) == default


@pytest.mark.parametrize("preset", [None, "fast"])
def test_neither_the_default_nor_the_fast_preset_needs_a_download(preset: str | None) -> None:
    assert resolve_settings({"preset": preset}).encoder == "compact"


def test_the_encoder_of_best_may_be_chosen() -> None:
    assert resolve_settings({"preset": "best"}).encoder == "vgg19"
    assert resolve_settings({"preset": "best", "encoder": "compact"}).encoder == "compact"


def test_fast_and_best_stand_on_either_side_of_the_default() -> None:
    def work(preset: str | None) -> float:
        settings = resolve_settings({"preset": preset})
        levels = zip(settings.level_sizes(), settings.level_iterations(), strict=True)
        return sum(size**2 * iterations for size, iterations in levels)

    assert work("fast") < 0.5 * work(None)
    assert work("best") > work(None)


def test_the_statistic_is_part_of_what_a_cell_is() -> None:
    keys = [
        canonical_settings(resolve_settings({"statistic": statistic}))
        for statistic in ("gram", "w2")
    ]
    assert keys[0] != keys[1]


def test_a_map_of_weights_gives_every_encoder_its_own() -> None:
    files = {"vgg19": "vgg19.pth"}
    assert resolve_settings({"weights": files}).weights is None
    assert resolve_settings({"weights": files, "encoder": "vgg19"}).weights == "vgg19.pth"
    assert resolve_settings({"weights": files, "preset": "gatys"}).weights == "vgg19.pth"


def test_the_compact_encoder_ends_where_it_ends() -> None:
    with pytest.raises(ConfigError, match=r"ends at relu5_1 and has no relu5_2.*vgg19"):
        resolve_settings({"content_layers": "relu5_2"})
    assert resolve_settings({"content_layers": "relu5_2", "encoder": "vgg19"})
    assert resolve_settings({"content_layers": {"relu5_2": 0, "relu4_2": 1}})


def test_the_gatys_preset_is_the_article() -> None:
    """Gatys, Ecker & Bethge 2015, section 2 and figure 2: w_l = 1/5, alpha/beta = 1e-3."""
    settings = resolve_settings({"preset": "gatys"})
    assert settings.content_weight / settings.style_weight == pytest.approx(1e-3)
    assert settings.style_layers == {f"relu{stage}_1": 1 / 5 for stage in range(1, 6)}
    assert settings.content_layers == {"relu4_2": 1.0}
    assert settings.encoder == "vgg19"
    assert settings.normalization == "gatys"
    assert (settings.pooling, settings.init, settings.optimizer) == ("avg", "noise", "lbfgs")
    assert settings.level_sizes() == [settings.size]


def test_settings_without_effect_are_in_no_key() -> None:
    """Else what was finished before a setting came would be lost."""
    found = canonical_settings(Settings())
    assert not {"color", "color_match", "luminance_space", "size_by", "tv_form"} & found.keys()
    for color, own in (("match_content", "color_match"), ("luminance", "luminance_space")):
        found = canonical_settings(Settings(color=color))  # type: ignore[arg-type]
        assert {"color", "color_match", "luminance_space"} & found.keys() == {"color", own}

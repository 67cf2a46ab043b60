"""Names and order of VGG-19's layers, against torchvision's own list of layers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nstcore.core.encoders import (
    EVAL_CONTENT_LAYER,
    EVAL_HELD_OUT_LAYERS,
    EVAL_STYLE_LAYERS,
    LAYERS,
    VGG19,
    channels,
    stage,
    torchvision_index,
)


def test_indices_and_channels_are_those_of_torchvision():
    from torchvision.models.vgg import cfgs

    index, current, position = 0, 1, 1
    expected = {}
    for entry in cfgs["E"]:  # Simonyan & Zisserman's column E: VGG-19
        if entry == "M":
            index, current, position = index + 1, current + 1, 1
        else:
            expected[f"relu{current}_{position}"] = (index, entry, current)
            index, position = index + 2, position + 1
    found = {name: (torchvision_index(name), channels(name), stage(name)) for name in LAYERS}
    assert found == expected
    assert list(found) == list(expected)


def test_deepest():
    assert VGG19.deepest(["relu4_2", "relu5_1", "relu1_1"]) == "relu5_1"
    assert VGG19.deepest(["relu3_4", "relu3_2"]) == "relu3_4"


@pytest.mark.parametrize("name", ["relu6_1", "relu1_3", "relu0_1", "conv1_1", "", "relu4_22"])
def test_unknown_names_are_refused_by_name(name):
    for function in (stage, torchvision_index, channels):
        with pytest.raises(ValueError, match="relu1_1 to relu5_4"):
            function(name)


def test_held_out_layers_are_not_those_that_are_judged():
    assert not set(EVAL_HELD_OUT_LAYERS) & {*EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER}
    assert {*EVAL_HELD_OUT_LAYERS, *EVAL_STYLE_LAYERS, EVAL_CONTENT_LAYER} <= set(LAYERS)


def test_a_configuration_can_be_checked_without_torch():
    code = "import sys, nstcore.core.encoders; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

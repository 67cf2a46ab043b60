from __future__ import annotations

import pytest
import torch
from kernels import matrix_product
from roofline import adapter_flops, iteration_flops
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nstcore.core.encoders import (
    EVAL_STYLE_LAYERS,
    VGG19_WIDTHS,
)
from nstcore.core.encoders.compact import CompactEncoder
from nstcore.core.encoders.vgg import VGG
from nstcore.core.moments import gram_matrix, qr_factor
from nstcore.core.settings import Settings

HEIGHT, WIDTH = 50, 66  # not divisible by 16: poolings drop rows and columns
WIDTHS = (4, 6, 8, 8, 8)


def counted(function) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("last", ["relu1_1", "relu3_2", "relu5_1"])
def test_convolutions_are_counted_as_torch_counts_them(last):
    encoder = VGG(WIDTHS, depth=last)
    image = torch.rand(1, 3, HEIGHT, WIDTH, requires_grad=True)
    forward = encoder.spec.convolution_flops(last, WIDTH, HEIGHT)
    assert counted(lambda: encoder(image, [last])) == forward
    both = counted(lambda: encoder(image, [last])[last].sum().backward())
    assert both == 2 * forward


def test_gram_matrices_are_counted_as_torch_counts_matrix_products():
    encoder = VGG(WIDTHS, depth="relu5_1")
    features = encoder(torch.rand(1, 3, HEIGHT, WIDTH), EVAL_STYLE_LAYERS)

    def products() -> None:
        for value in features.values():
            value.requires_grad_(True)
            gram = matrix_product(value)
            # (S + S^T) F is one product; autograd makes two, F S and F S^T, where one would do.
            torch.autograd.grad(gram, value, torch.ones_like(gram))

    forward = encoder.spec.gram_flops(EVAL_STYLE_LAYERS, WIDTH, HEIGHT)
    assert counted(products) == 3 * forward


def test_content_through_an_adapter_is_counted_as_torch_counts_it():
    encoder = CompactEncoder(WIDTHS)
    factor = qr_factor(encoder.adapters["relu4_2"][0])
    difference = torch.rand(1, WIDTHS[3], HEIGHT // 8, WIDTH // 8)
    expected = counted(lambda: F.conv2d(difference, factor[:, :, None, None]))
    assert adapter_flops(encoder, ["relu4_2"], HEIGHT, WIDTH) == expected
    assert adapter_flops(VGG(WIDTHS), ["relu4_2"], HEIGHT, WIDTH) == 0


def test_an_iteration_at_256_px_is_the_71_gflop_known_of_vgg19():
    flops = iteration_flops(VGG(VGG19_WIDTHS, depth="relu5_1"), Settings(encoder="vgg19"), 192, 256)
    assert flops["convolutions"] == pytest.approx(71e9, rel=0.02)
    assert 0 < flops["gram"] < 0.06 * flops["convolutions"]


def test_both_ways_to_a_gram_matrix_agree():
    features = torch.rand(2, 8, 9, 11).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(matrix_product(features), gram_matrix(features))

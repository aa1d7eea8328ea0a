# SPDX-License-Identifier: Apache-2.0
"""Every published figure of the reference architectures is met, or its difference explained."""

from __future__ import annotations

from collections import Counter

import pytest

from mcudeploy import zoo
from mcudeploy.zoo.claims import Row, parse
from mcudeploy.zoo.efficientnet import Scaling, admissible, search_scaling

ROWS = zoo.verify()

# What the project promises to reproduce, by the title of an architecture and printed figure.
PROMISED = {
    "LeNet-5": "156 2,416 48,120 10,164 850 28x28x6 14x14x6 10x10x16 5x5x16 1x1x120 84 10 61,706 "
    "416,520 246,824_B 241.0_KiB 23,520_B 270,344_B",
    "AlexNet": "61M 724M 2.3M 666M 1,077M 3.7M",
    "OverFeat fast": "146M 2.8G 16M 2.67G",
    "VGG-16": "138M 15.5G 14.7M 15.3G",
    "GoogLeNet v1": "7M 1.43G 6.0M 1.43G",
    "ResNet-50": "25.5M 3.9G 23.5M 3.86G 4.09G",
    "SqueezeNet": "1,248,424 14,208 11,920 12,432 45,344 49,440 104,880 111,024 188,992 197,184 "
    "513,000 111x111x96 55x55x96 55x55x128 55x55x128 55x55x256 27x27x256 27x27x256 27x27x384 "
    "27x27x384 27x27x512 13x13x512 13x13x512 13x13x1000 4.8_MB 7.7_MB 1,589,672 57.5 60.4 58.8",
    "SqueezeNet, Deep Compression": "421,098 77,581 0.66_MB 0.47_MB",
    "MobileNetV1": "4.2M 569M 2.6M 325M 1.3M 149M 0.5M 41M 418M 290M 186M 1.32M 76M 70.6 68.4 63.7 "
    "50.6 69.1 67.2 64.4 60.2 94.86% 74.59% 3.06% 1.06% 1.19% 0.02% 0.18% 24.33% 29.3M 4866M 71.7 "
    "2.9M 307M 65.3",
    "MobileNetV1's layer, 14x14x512, 3x3": "462M 2.36M 52.3M 0.27M 29.6M 0.15M 15.1M 0.15M",
    "MobileNetV2": "3.4M 300M 72.0 6.9M 585M 74.7 1.6M 59.2M 60.8",
    "MobileNetV3-Large": "5.4M 219M 75.2 4.0M 155M 73.3",
    "MobileNetV3-Small": "2.5M 56M 67.4 2.0M 44M 65.4",
    "ShuffleNet": "143M 140M 137M 133M 137M 144/288/576 200/400/800 240/480/960 272/544/1088 "
    "384/768/1536 524M 26.3 292M 28.5 140M 32.4 38M 41.6 40M 42.8 13M 52.7 527M 24.7",
    "MnasNet-A1": "3.9M 315M 75.2",
    "MnasNet-small": "1.9M 65.1M 64.9",
    "ProxylessNAS mobile": "4.0M 320M 74.6",
    "EfficientNet-B0": "5.3M 0.39G 77.1",
    "EfficientNet-B1": "7.8M 0.70G 79.1",
    "EfficientNet-B2": "9.2M 1.0G 80.1",
    "EfficientNet-B3": "12M 1.8G 81.6",
    "EfficientNet-B4": "19M 4.2G 82.9",
    "EfficientNet-B5": "30M 9.9G 83.6",
    "EfficientNet-B6": "43M 19G 84.0",
    "EfficientNet-B7": "66M 37G 84.3",
    "7x7x3 to 5x5x128, 3x3 kernels": "86,400 10,275",
    "depthwise separable, M 1024, 3x3": "0.112",
    "fire module, 128 channels": "12,288 12,432",
    "3x3 convolution, 128 channels": "147,456",
    "spatially separable 3x3 kernel": "6",
    "plain 3x3 kernel": "9",
    "Transformer encoder": "25,088 896",
    "RNN": "28,672 32",
    "RNN with attention": "802,816 896",
}  # fmt: skip


@pytest.mark.parametrize("system", PROMISED)
def test_no_promised_figure_is_missing(system: str) -> None:
    member = f"{system}, "
    found = Counter(r.published for r in ROWS if r.system == system or r.system.startswith(member))
    wanted = Counter(figure.replace("_", " ") for figure in PROMISED[system].split())
    assert not wanted - found


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.system}: {row.figure}")
def test_a_figure_is_met_or_its_difference_is_explained(row: Row) -> None:
    if row.computed is None:
        assert "not measured here" in row.convention
        assert "top-1" in row.figure
    else:
        assert row.met or row.explanation, str(row)
        assert row.convention


def test_most_figures_are_met_outright() -> None:
    computed = [row for row in ROWS if row.computed is not None]
    assert sum(row.met for row in computed) > 0.75 * len(computed)


def test_an_accuracy_is_quoted_for_the_papers_own_members_only() -> None:
    quoted = zoo.published_accuracy("mobilenet_v1", width=0.5, resolution=160)
    assert quoted is not None
    assert (quoted.published, quoted.figure) == ("60.2", "ImageNet top-1 accuracy, %")
    assert zoo.published_accuracy("mobilenet_v1", width=0.5, resolution=96) is None
    assert zoo.published_accuracy("mobilenet_v1", classes=10) is None


def test_a_wrong_count_would_not_be_met() -> None:
    row = Row("x", "MACs", "569M", 570.6e6, "all layers")
    assert not row.met
    assert row.shown_difference() == "+1.60M"
    assert Row("x", "MACs", "569M", 568.74e6, "all layers").met
    assert not Row("x", "output", "28x28x6", "28x28x8", "").met


def test_printed_figures_carry_their_precision() -> None:
    assert parse("4.2M") == (4.2e6, 0.05e6)
    assert parse("86,400") == (86400, 0)
    assert parse("241.0 KiB") == (241 * 1024, 51.2)
    with pytest.raises(ValueError, match="not a printed figure"):
        parse("about 5")


def test_our_own_counts_stay_what_they_were_found_to_be() -> None:
    """Independent figures, to the digit: from layer-by-layer sums that others published or made."""
    found = {
        name: (zoo.counts(name).trainable, zoo.counts(name).macs)
        for name in ("vgg16", "resnet50", "mobilenet_v1", "mobilenet_v2", "densenet121")
    }
    assert found["vgg16"] == (138_357_544, 15_470_264_320)
    assert found["resnet50"][0] == 25_557_032
    assert found["mobilenet_v1"] == (4_231_976, 568_740_352)
    assert found["mobilenet_v2"] == (3_504_872, 300_774_272)
    assert found["densenet121"][0] == 7_978_856
    assert zoo.counts("mobilenet_v2", width=1.4).macs == pytest.approx(582.2e6, rel=1e-4)
    assert zoo.counts("efficientnet_b2").parameters == pytest.approx(9.178e6, rel=1e-4)


def test_compound_scaling_reaches_the_published_members() -> None:
    scaling = Scaling()
    assert scaling.flops_factor == pytest.approx(1.92, abs=0.005)
    depth, width, resolution = scaling.at(1)
    assert (depth, width, resolution) == (1.2, 1.1, 258)
    grid = list(admissible())
    assert scaling in grid
    assert all(abs(s.flops_factor - 2) <= 0.1 and min(s.alpha, s.beta, s.gamma) >= 1 for s in grid)


def test_compound_members_grow_from_b0_and_shrink_to_a_microcontroller() -> None:
    def macs(phi: float) -> int:
        return zoo.counts("efficientnet_compound", phi=phi).macs

    assert macs(0) == zoo.counts("efficientnet_b0").macs
    steps = [phi for _, options in zoo.members("efficientnet_compound")
             if isinstance(phi := options["phi"], float)]  # fmt: skip
    assert steps == [-float(step) for step in range(9)]
    assert [macs(phi) for phi in steps] == sorted(map(macs, steps), reverse=True)
    assert macs(-8) < macs(0) / 2**5
    wider = zoo.counts("efficientnet_compound", phi=-4.0, beta=1.2)
    assert wider.trainable < zoo.counts("efficientnet_compound", phi=-4.0).trainable


def test_the_grid_search_returns_what_scores_best() -> None:
    wanted = Scaling(1.2, 1.1, 1.15)

    def accuracy(s: Scaling) -> float:
        return -(abs(s.alpha - 1.2) + abs(s.beta - 1.1) + abs(s.gamma - 1.15))

    assert search_scaling(accuracy) == wanted

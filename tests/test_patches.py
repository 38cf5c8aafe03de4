"""Sizes, tokens and pixels of patches, against the published figures and another statement of the rules."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from perilune.media.image import image_tokens
from perilune.media.patches import cut, fit, most_tokens, resize, token_grid
from perilune.media.settings import PUBLISHED, MediaConfig

SMALL = MediaConfig(patch_size=4, in_patch_limit=64, in_patch_limit_each_frame=16, patch_limit_on_one_side=12)
LARGER = MediaConfig(in_patch_limit=100, patch_limit_on_one_side=64, enlarged_side=448)


def picture(width, height, seed=0):
    """A picture with coarse and fine structure."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("size", "resized", "tokens"),
    [
        ((1, 1), (1, 1), 1),
        ((28, 28), (28, 28), 1),
        ((224, 224), (224, 224), 64),
        ((640, 480), (640, 480), 414),
        ((1024, 768), (1024, 768), 1036),
        ((1920, 1080), (1920, 1080), 2691),
        ((3840, 2160), (2392, 1345), 4214),
        ((10000, 100), (7168, 71), 768),
        # What transformers 5.23.0 gives.
        ((333, 777), (333, 777), 336),
        ((2047, 1999), (1819, 1777), 4160),
        ((4000, 3000), (2073, 1554), 4200),
        ((7169, 40), (7168, 39), 512),
        ((65000, 1), (7168, 1), 256),
        ((1, 9000), (1, 7168), 256),
        ((5000, 333), (5000, 333), 2148),
    ],
)
def test_the_published_sizes_and_tokens(size, resized, tokens):
    assert fit(*size, PUBLISHED.in_patch_limit, PUBLISHED) == resized
    assert image_tokens(*size) == tokens


@pytest.mark.parametrize(
    ("size", "resized", "tokens"), [((1920, 1080), (1196, 672), 1032), ((1024, 768),) * 2 + (1036,)]
)
def test_the_published_sizes_of_frames(size, resized, tokens):
    assert fit(*size, PUBLISHED.in_patch_limit_each_frame, PUBLISHED) == resized
    assert math.prod(token_grid(*resized, PUBLISHED)) == tokens


@given(st.integers(1, 65_535), st.integers(1, 65_535), st.sampled_from([PUBLISHED, SMALL]))
def test_no_size_grows_or_passes_the_limits_by_much(width, height, config):
    new_width, new_height = fit(width, height, config.in_patch_limit, config)
    assert 1 <= new_width <= min(width, config.longest_side) and 1 <= new_height <= min(height, config.longest_side)
    rows, columns = (count * config.merge_kernel_size for count in token_grid(new_width, new_height, config))
    assert max(rows, columns) <= config.patch_limit_on_one_side
    # Rounding down of the old sides and up of the new ones: at most a few patches along each side.
    assert (rows - 3) * (columns - 3) <= config.in_patch_limit


@given(st.integers(1, 65_535), st.integers(1, 65_535), st.sampled_from([PUBLISHED, SMALL, LARGER]))
def test_no_shape_takes_more_tokens_than_the_most(width, height, config):
    for limit in (config.in_patch_limit, config.in_patch_limit_each_frame):
        assert math.prod(token_grid(*fit(width, height, limit, config), config)) <= most_tokens(limit, config)


def test_the_most_tokens_are_nearly_reached():
    for config, limit, worst in (
        (PUBLISHED, 16384, (7182, 501)),
        (PUBLISHED, 4096, (167, 7157)),
        (SMALL, 64, (35, 35)),
    ):
        reached = math.prod(token_grid(*fit(*worst, limit, config), config))
        assert reached <= most_tokens(limit, config) <= 1.03 * reached


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(("width", "height"), [(8, 8), (1, 1), (9, 15), (16, 7)])
def test_patches_are_what_the_rules_say_pixel_by_pixel(width, height, frames):
    config = MediaConfig(patch_size=4, image_mean=(0.5, 0.25, 0.0), image_std=(0.5, 0.25, 1.0))
    clip = [np.asarray(picture(width, height, seed)) for seed in range(frames)]
    patches = cut(clip, config)
    columns, rows = (2 * math.ceil(side / 8) for side in (width, height))
    assert patches.grid == (frames, rows, columns)
    assert patches.tokens == rows * columns // 4
    assert patches.pixels_PCSS.shape == (frames * rows * columns, 3, 4, 4)
    assert patches.pixels_PCSS.dtype == np.float32
    found = iter(patches.pixels_PCSS.ravel().tolist())
    for frame in clip:
        for row in range(rows):
            for column in range(columns):
                for channel, (mean, std) in enumerate(zip(config.image_mean, config.image_std, strict=True)):
                    for y in range(row * 4, row * 4 + 4):
                        for x in range(column * 4, column * 4 + 4):
                            value = int(frame[y, x, channel]) if y < height and x < width else 0
                            assert next(found) == pytest.approx((value / 255 - mean) / std, abs=1e-6)
    assert next(found, None) is None


def test_padding_is_black_which_is_minus_one():
    patches = cut([np.full((5, 30, 3), 255, np.uint8)], PUBLISHED)
    assert patches.grid == (1, 2, 4)
    first, last = patches.pixels_PCSS[0], patches.pixels_PCSS[-1]
    assert (first[:, :5] == 1).all() and (first[:, 5:] == -1).all() and (last == -1).all()


@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (2047, 1999), (7300, 29), (10000, 100)])
def test_resizing_agrees_with_torch(width, height):
    """transformers resizes with torch: the same filter in other arithmetic, so a few pixels differ by a step or two."""
    image = picture(width, height)
    size = fit(width, height, PUBLISHED.in_patch_limit, PUBLISHED)
    ours_HWC = resize(image, size)
    image_1CHW = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    torchs_1CHW = torch.nn.functional.interpolate(image_1CHW, size[::-1], mode="bicubic", antialias=True)
    apart = np.abs(ours_HWC.astype(int) - torchs_1CHW[0].permute(1, 2, 0).numpy().astype(int))
    assert ours_HWC.shape == (size[1], size[0], 3)
    assert apart.max() <= 2 and apart.mean() < 0.25


@pytest.mark.parametrize(("width", "height"), [(1, 1), (333, 777), (1023, 767), (2047, 1999), (29, 7300)])
def test_parity_with_transformers(width, height):
    pytest.importorskip("torchvision", reason="transformers' image processor needs torchvision")
    from transformers.models.kimi_k25.image_processing_kimi_k25 import Kimi_K25ImageProcessor

    image = picture(width, height)
    theirs = Kimi_K25ImageProcessor()(image, return_tensors="np")
    ours = cut([resize(image, fit(*image.size, PUBLISHED.in_patch_limit, PUBLISHED))], PUBLISHED)
    assert tuple(theirs["image_grid_thw"][0]) == ours.grid
    apart = np.abs(theirs["pixel_values"] - ours.pixels_PCSS) * 127.5
    assert apart.max() < 2.001 and apart.mean() < 0.25

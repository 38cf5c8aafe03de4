"""Pixels → patches by the published rules (MoonViT-3D preprocessing, K2.5 and K2.6): resize, pad, normalise, cut.

Axes: T frames, H and W pixels, C = 3 colours, P patches (T · rows · columns), S pixels along one side of a patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from perilune.media.settings import MediaConfig


@dataclass(frozen=True)
class Patches:
    """What the vision tower takes for one picture or one chunk of a clip."""

    pixels_PCSS: np.ndarray  # float32; frame after frame, row after row; padding is black
    grid: tuple[int, int, int]  # frames, rows and columns of patches
    tokens: int  # what it takes in a prompt: the frames of a chunk share their tokens


def fit(width: int, height: int, limit: int, config: MediaConfig) -> tuple[int, int]:
    """Width and height after resizing: at most about `limit` patches in all and longest_side pixels; larger only where
    the config enlarges small pictures."""
    times = max(1, -(-config.enlarged_side // max(width, height)))
    width, height = width * times, height * times
    patches = max(1, width // config.patch_size) * max(1, height // config.patch_size)
    longest = config.longest_side
    scale = min(1.0, math.sqrt(limit / patches), longest / width, longest / height)
    return min(longest, max(1, int(width * scale))), min(longest, max(1, int(height * scale)))


def token_grid(width: int, height: int, config: MediaConfig) -> tuple[int, int]:
    """Rows and columns of tokens of a resized picture: its sides are padded up to whole tokens.

    Padding comes after the limit, so that extreme shapes have up to a tenth (pictures) or a third (frames) more tokens
    than the limit names; that is the published rule.
    """
    return -(-height // config.token_side), -(-width // config.token_side)


def most_tokens(limit: int, config: MediaConfig) -> int:
    """No picture that was fitted to `limit` takes more tokens, whatever its shape.

    Sides of w and h pixels stand for w h / patch_size² of the limit, less what their last patches lacked before they
    were fitted: the limit counts whole patches only. One patch in floor(w / patch_size) + 1 is the most of it.
    """
    fewest = np.arange(-(-config.longest_side // config.token_side)) * config.token_side + 1  # pixels of 1, 2, … tokens
    whole = np.maximum(1, fewest // config.patch_size)
    counted = fewest / config.patch_size * whole / (whole + 1)
    counted[0] = 0  # one token is what any few pixels become
    room = np.divide(limit * (1 + 1e-9), counted, out=np.full(len(counted), np.inf), where=counted > 0)
    return int((np.arange(1, len(counted) + 1) * np.searchsorted(counted, room, "right")).max())


def resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """An RGB picture at (width, height) as [H, W, C] uint8: bicubic, antialiased."""
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.BICUBIC))


def cut(frames_THWC: Sequence[np.ndarray], config: MediaConfig) -> Patches:
    """Resized uint8 frames of one size → patches: padded with zeros at the right and the bottom, then normalised."""
    height, width = frames_THWC[0].shape[:2]
    side, merge = config.patch_size, config.merge_kernel_size
    rows, columns = (count * merge for count in token_grid(width, height, config))
    padded = np.zeros((len(frames_THWC), rows * side, columns * side, 3), np.uint8)
    for place, frame in zip(padded, frames_THWC, strict=True):
        place[:height, :width] = frame
    apart = padded.reshape(len(frames_THWC), rows, side, columns, side, 3).transpose(0, 1, 3, 5, 2, 4)
    pixels_PCSS = _normalised(apart.reshape(-1, 3, side, side), config)
    return Patches(pixels_PCSS, (len(frames_THWC), rows, columns), rows * columns // merge**2)


def _normalised(pixels_PCSS: np.ndarray, config: MediaConfig) -> np.ndarray:
    """(x / 255 - mean) / std, rounded to float32 after each step as published."""
    out_PCSS = pixels_PCSS.astype(np.float32)
    out_PCSS /= np.float32(255)
    for channel, (mean, std) in enumerate(zip(config.image_mean, config.image_std, strict=True)):
        out_PCSS[:, channel] -= np.float32(mean)
        out_PCSS[:, channel] *= np.float32(1 / std)
    return out_PCSS

"""What is set aside to see and hear: the published figures, and real towers that keep within it."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from test_show import write_hollow

from perilune.api.sense_room import KEPT_BYTES, most_clip_bytes, most_patches, most_seconds, sense_room, stored_weights
from perilune.config import ModelConfig
from perilune.media.settings import PUBLISHED, MediaConfig
from perilune.presets import NANO_AUDIO, NANO_VISION, preset
from perilune.synth import first_layers
from perilune.weights.files import open_checkpoint

CLEAR = Path("/proc/self/clear_refs")  # writing 5 there forgets the peak of memory
LARGE = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed goes back at once, as large tensors do
MEASURE = """
import sys
from pathlib import Path
import numpy as np, torch
from perilune.api.free_memory import peak_memory
from perilune.api import sense_room
from perilune.config_audio import AudioConfig
from perilune.config_vision import VisionConfig
from perilune.model.hear import hear
from perilune.model.hearing import Hearing
from perilune.model.vision import Vision
from perilune.model.tower_init import init_hearing, init_vision
from perilune.presets import NANO_AUDIO

def peak(act, first):
    act(first)
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory()
    act(None)
    return peak_memory() - before

@torch.inference_mode()
def see(inner):
    config = VisionConfig(vt_hidden_size=256, vt_intermediate_size=inner, vt_num_hidden_layers=3)
    vision = Vision(config, 64)
    init_vision(vision, 0)
    vision = vision.bfloat16().eval()
    def look(grid):
        grid = grid or (1, 64, 64)
        vision(torch.randn(grid[1] * grid[2], 3, 14, 14), [grid])
    widths = sense_room._widths(256, inner)
    # A first picture that is not tiny takes what kernels load and keep once, for good.
    return peak(look, (1, 16, 16)), 4 * 64 * 64 * (3 * 14**2 + widths)

def listen():
    hearing = Hearing(NANO_AUDIO, 64)
    init_hearing(hearing, 0)
    def attend(few):
        hear(hearing.eval(), np.zeros(few or 16_000 * 300, np.float32))
    tokens = NANO_AUDIO.num_tokens(300)
    return peak(attend, 16_000), sense_room.sound_bytes(NANO_AUDIO, tokens) + 2 * tokens * 64 * 4

print(*(see(int(sys.argv[2])) if sys.argv[1] == "see" else listen()))
"""


def test_the_published_tower_has_its_published_size(tmp_path):
    write_hollow(tmp_path, first_layers(preset("k2.6"), 1))
    weights = stored_weights(open_checkpoint(tmp_path), ModelConfig.load(tmp_path))
    assert weights == {"vision": pytest.approx(2 * 471.2e6, rel=1e-3)}
    room = sense_room(preset("k2.6"), PUBLISHED, 8192, weights)
    assert room.verb == "see" and room.total == weights["vision"] + room.item + room.rows + (256 << 20)
    # Four frames of an odd shape are more patches than any picture: 1,350 tokens of 4 x 2 x 2.
    assert most_patches(PUBLISHED) == 21_600
    assert room.item == 4 * 21_600 * (3 * 14**2 + 6 * 1152 + 2 * 4304)
    assert room.rows == KEPT_BYTES + 2 * 8192 * 7168 * 4
    limits = MediaConfig(in_patch_limit=256, in_patch_limit_each_frame=64, patch_limit_on_one_side=32)
    small = sense_room(preset("k2.6"), limits, 8192, weights)
    assert small.item < room.item / 40


def test_what_hears_counts_as_float32_and_items_pass_one_at_a_time(tmp_path):
    config = replace(preset("tiny"), vision=NANO_VISION, audio=NANO_AUDIO, media_placeholder_token_id=300)
    write_hollow(tmp_path, config)
    both = stored_weights(open_checkpoint(tmp_path), config)
    assert both["hearing"] == pytest.approx(4 * 2.0e6, rel=0.1) and both["vision"] == pytest.approx(2 * 3.4e6, rel=0.1)
    whole = sense_room(config, PUBLISHED, 4096, both)
    apart = [sense_room(config, PUBLISHED, 4096, {name: size}) for name, size in both.items()]
    assert whole.item == max(one.item for one in apart) and whole.verb == "see and hear"
    assert not sense_room(config, PUBLISHED, 4096, {}).total


def test_a_short_context_bounds_what_is_decoded():
    assert most_seconds(NANO_AUDIO, 100) == pytest.approx(8.0) and most_seconds(NANO_AUDIO, 1 << 20) == 3600.0
    assert most_clip_bytes(PUBLISHED, 100) == 100 * 4 * 28 * 28 * 3


@pytest.mark.skipif(not CLEAR.exists(), reason="this system does not let a process measure its peak anew")
@pytest.mark.parametrize("what", [("see", "1024"), ("see", "256"), ("hear",)])
def test_a_tower_takes_no_more_than_is_set_aside(what):
    """And not much less: a bound of several times as much would take memory from the experts."""
    command = [sys.executable, "-c", MEASURE, *what]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=LARGE)
    taken, bound = map(int, told.stdout.split())
    assert bound / 3 < taken <= bound

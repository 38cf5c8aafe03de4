"""The vision tower by itself: items that do not disturb one another, positions, the order of patches, training."""

import math
from dataclasses import replace

import pytest
import torch
from tiny_vision import CLIPS, PICTURES, TOWER, random_pixels, random_vision

from perilune.errors import MediaError
from perilune.kernels import threads
from perilune.model.tower_init import init_vision
from perilune.model.vision import MAX_SIDE, Vision, frame_times, turns
from perilune.presets import NANO_VISION


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_neighbours_change_no_bit(dtype):
    vision, grids = random_vision().to(dtype), [*CLIPS, *PICTURES, (1, 18, 12)]
    pixels = random_pixels(grids)
    parts = pixels.split([math.prod(grid) for grid in grids])
    with torch.inference_mode():
        together = vision(pixels, grids)
        backwards = vision(torch.cat(parts[::-1]), grids[::-1])[::-1]
        alone = [vision(part.clone(), [grid])[0] for part, grid in zip(parts, grids, strict=True)]
    assert all(map(torch.equal, together, backwards)) and all(map(torch.equal, together, alone))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_threads_change_no_bit(dtype):
    vision, grids = random_vision().to(dtype), [*CLIPS, *PICTURES, (1, 46, 34)]
    pixels, before, found = random_pixels(grids), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            threads.set_threads(count)
            with torch.inference_mode():
                found.append(vision(pixels, grids))
    finally:
        torch.set_num_threads(before)
        threads.set_threads(None)
    assert all(map(torch.equal, found[0], found[1])) and all(map(torch.equal, found[0], found[2]))


def test_only_clips_know_of_time():
    vision = random_vision()
    still = random_pixels([(1, 6, 8)])
    with torch.inference_mode():
        (picture_TC,), (clip_TC,) = vision(still, [(1, 6, 8)]), vision(still.repeat(3, 1, 1, 1), [(3, 6, 8)])
    assert picture_TC.shape == clip_TC.shape and (picture_TC - clip_TC).abs().max() > 0.01
    angle = 3 * 10_000.0 ** (-2 / 96)
    times = frame_times(4, 96)
    assert torch.equal(times[0], torch.cat((torch.zeros(48), torch.ones(48))))
    torch.testing.assert_close(times[3, [1, 49]], torch.tensor([math.sin(angle), math.cos(angle)]))


def test_cells_go_row_by_row_and_patches_inside_a_cell_too(monkeypatch):
    tower = random_vision().vision_tower
    for module in (tower.patch_embed, tower.encoder):
        monkeypatch.setattr(module, "forward", lambda x_ND, grid: x_ND)
    numbers = torch.arange(24.0)[:, None].expand(24, 96)
    cells = tower(numbers, (1, 4, 6))[:, :, 0]
    assert cells.tolist()[:2] == [[0, 1, 6, 7], [2, 3, 8, 9]] and cells[3].tolist() == [12, 13, 18, 19]
    assert tower(torch.cat((numbers, numbers + 10)), (2, 4, 6))[0, :, 0].tolist() == [5, 6, 11, 12]


def test_the_place_of_a_patch_and_the_order_of_frames_are_seen():
    vision, one, clip = random_vision(), random_pixels([(1, 4, 4)]), random_pixels([(2, 2, 2)])
    with torch.inference_mode():
        upright, turned = vision(torch.cat((one, one.flip(0))), [(1, 4, 4)] * 2)
        forwards, backwards = vision(torch.cat((clip, clip[4:], clip[:4])), [(2, 2, 2)] * 2)
    assert not torch.allclose(upright.flip(0), turned, atol=1e-2)
    assert not torch.allclose(forwards, backwards, atol=1e-2)


def test_pairs_turn_with_the_column_and_the_row_in_turn():
    angle = turns((2, 3, 5), 24).angle().view(2, 3, 5, 12)
    assert torch.equal(angle[0], angle[1])
    slow = 10_000.0 ** (-4 / 24)
    torch.testing.assert_close(angle[0, 2, 1, :4], torch.tensor([1.0, 2.0, slow, 2 * slow]))


def test_positions_at_the_size_of_the_table_are_the_table():
    positions = random_vision().vision_tower.patch_embed.pos_emb
    assert torch.equal(positions((1, 8, 8)), positions.weight.flatten(0, 1))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((5, 2, 2), "a clip of 5 frames at once; this model takes from 1 to 4 of them"),
        ((0, 2, 2), "a clip of 0 frames"),
        ((1, 0, 2), "1 x 0 x 2 patches; a side has from 1 to 512"),
        ((1, MAX_SIDE + 2, 2), "1 x 514 x 2 patches"),
        ((1, 512, 512), "an item 32768"),
        ((1, 3, 2), "3 x 2 patches do not fall into tokens of 2 x 2"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_before_anything_is_computed(grid, message):
    with pytest.raises(MediaError, match=message):
        random_vision()(random_pixels([(1, 2, 2)]), [(1, 2, 2), grid])


def test_patches_must_fit_their_grids():
    with pytest.raises(ValueError, match=r"patches \[4, 3, 14, 14\] do not fit .* ask for \[8, 3, 14, 14\]"):
        random_vision()(random_pixels([(1, 2, 2)]), [(2, 2, 2)])
    assert random_vision()(random_pixels([]), []) == []


def test_the_tower_for_nano_is_small_and_sees():
    vision = Vision(NANO_VISION, 256)
    init_vision(vision, 1)
    assert sum(weight.numel() for weight in vision.parameters()) == 3_619_648
    with torch.inference_mode():
        (tokens_TC,) = vision(random_pixels([(1, 32, 32)]), [(1, 32, 32)])
    assert tokens_TC.shape == (256, 256) and 0.1 < tokens_TC.std() < 2


def test_a_tower_learns():
    """Which quarter of a picture is bright: every weight takes part and the loss falls to nothing."""
    torch.set_num_threads(1)  # kernels leave more behind, which wait for one another on a busy machine
    vision = Vision(replace(TOWER, vt_num_hidden_layers=2), 4)
    init_vision(vision, 1)
    pixels_4 = torch.full((4, 4, 4, 3, 14, 14), -1.0)
    for quarter, (down, across) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        pixels_4[quarter, down : down + 2, across : across + 2] = 1.0
    pixels, grids, target = pixels_4.flatten(0, 2), [(1, 4, 4)] * 4, torch.arange(4)
    optimiser = torch.optim.AdamW(vision.parameters(), lr=3e-4)
    losses = []
    for _ in range(40):
        scores = torch.stack([x_TC.mean(0) for x_TC in vision(pixels, grids)])
        losses.append(torch.nn.functional.cross_entropy(scores, target))
        optimiser.zero_grad()
        losses[-1].backward()
        assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in vision.parameters())
        optimiser.step()
    assert losses[0] > 1.0 and losses[-1] < 0.05
    with torch.inference_mode():
        found = torch.stack([x_TC.mean(0) for x_TC in vision(pixels, grids)])
    assert torch.equal(found.argmax(1), target)

import pytest
import torch
from test_parity_vision import TABLE, random_vision

from perilune.config_vision import VisionConfig, read_vision_config
from perilune.errors import ConfigError, MediaError
from perilune.model.vision import times

VISION = random_vision()
GRIDS = [(1, 4, 6), (4, 2, 4), (1, 2, 2), (1, 8, 8)]


def patches(grids, seed=0):
    count = sum(frames * rows * columns for frames, rows, columns in grids)
    return torch.randn(count, 3, 14, 14, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_an_item_has_the_same_features_alone_and_in_company_but_for_rounding():
    whole = patches(GRIDS)
    together = VISION(whole, GRIDS)
    at = 0
    for grid, seen in zip(GRIDS, together, strict=True):
        size = grid[0] * grid[1] * grid[2]
        alone = VISION(whole[at : at + size], [grid])[0]
        at += size
        assert (alone - seen).abs().max() < 1e-5


def test_a_token_stands_for_two_by_two_patches_and_all_frames():
    with torch.inference_mode():
        assert [len(x) for x in VISION(patches(GRIDS), GRIDS)] == [6, 2, 1, 16]
        merged = VISION.vision_tower(patches([(1, 4, 6)]), [(1, 4, 6)])[0]
        flat = VISION.vision_tower.encoder
    assert merged.shape == (6, 4, 64) and len(flat.blocks) == 3


def test_cells_go_row_by_row_and_patches_inside_a_cell_too():
    numbers = torch.arange(24.0)[:, None].expand(24, 64)
    cells = VISION.vision_tower._merge(numbers, (1, 4, 6))[:, :, 0]
    assert cells.tolist()[:2] == [[0, 1, 6, 7], [2, 3, 8, 9]] and cells[3].tolist() == [12, 13, 18, 19]
    both = torch.cat((numbers, numbers + 10))
    assert VISION.vision_tower._merge(both, (2, 4, 6))[0, :, 0].tolist() == [5, 6, 11, 12]


def test_the_place_of_a_patch_and_the_order_of_frames_are_seen():
    one = patches([(1, 4, 4)])
    with torch.inference_mode():
        turned = VISION(one.flip(0), [(1, 4, 4)])[0]
        assert not torch.allclose(VISION(one, [(1, 4, 4)])[0].flip(0), turned, atol=1e-2)
        clip = patches([(2, 2, 2)])
        swapped = torch.cat((clip[4:], clip[:4]))
        assert not torch.allclose(VISION(clip, [(2, 2, 2)])[0], VISION(swapped, [(2, 2, 2)])[0], atol=1e-2)


def test_times_begin_with_sines_of_zero_and_cosines_of_one():
    first, second = times(2, 8)
    assert first.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert second[0] == pytest.approx(0.841471, abs=1e-5) and second[4] == pytest.approx(0.540302, abs=1e-5)


def test_what_cannot_be_merged_or_is_too_long_is_refused():
    with pytest.raises(ValueError, match="a grid of 1 x 3 x 4 patches cannot be merged 2 x 2"):
        VISION(patches([(1, 3, 4)]), [(1, 3, 4)])
    with pytest.raises(MediaError, match="a clip of 5 frames at once; this tower takes at most 4"):
        VISION(patches([(5, 2, 2)]), [(5, 2, 2)])


def test_gradients_reach_every_weight():
    vision = random_vision()
    grids = [(1, 4, 6), (2, 2, 2)]
    torch.cat(vision(patches(grids), grids)).square().sum().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in vision.parameters())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"vt_num_attention_heads": 5}, "must be vt_num_attention_heads = 5 times a multiple of 4"),
        ({"merge_kernel_size": [2]}, "merge_kernel_size must be a list of two small integers"),
        ({"merge_type": "other"}, "merge_type"),
        ({"vt_hidden_size": 0}, "vt_hidden_size"),
    ],
)
def test_a_tower_of_another_kind_is_refused_by_name(change, told):
    with pytest.raises(ConfigError, match=told):
        read_vision_config(TABLE | change)


def test_the_published_tower_is_read():
    assert read_vision_config(TABLE) == VisionConfig(64, 96, 4, 3, init_pos_emb_height=8, init_pos_emb_width=8)

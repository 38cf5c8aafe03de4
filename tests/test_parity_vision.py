"""What a model sees, against transformers: a tiny random directory in the published layout, read by both."""

from dataclasses import replace

import pytest
import torch
from tiny_vision import CLIPS, PICTURES, TOWER, random_pixels, random_vision

from perilune.bench.senses_peer import write_seeing
from perilune.model.vision_checkpoint import load_vision

transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")

TOWERS = {
    "square": TOWER,
    "one-head": replace(TOWER, vt_num_attention_heads=1, vt_hidden_size=72, vt_num_hidden_layers=2),
    "merged-unevenly": replace(TOWER, merge_kernel_size=(2, 1), vt_num_hidden_layers=2),
    "small-patches": replace(TOWER, patch_size=6, vt_num_hidden_layers=2),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tower", TOWERS)
def test_features_match_transformers(tmp_path, tower, dtype):
    directory = write_seeing(tmp_path, random_vision(TOWERS[tower]), dtype)
    theirs, told = transformers.Kimi_K25ForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    assert not any(told.values()), "transformers knows every tensor that was written"
    theirs, ours = theirs.model.eval(), load_vision(directory)
    # Clips of different lengths do not go together in transformers.
    for grids in (PICTURES, [(3, 4, 6), (3, 8, 8)], *([clip] for clip in CLIPS)):
        pixels = random_pixels(grids, TOWERS[tower].patch_size)
        with torch.inference_mode():
            merged = theirs.vision_tower(pixels, grid_thw=torch.tensor(grids)).pooler_output
            expected_TC = theirs.mm_projector(merged).squeeze(1)
            found = ours(pixels, grids)
        assert [len(x_TC) for x_TC in found] == [r * c // TOWERS[tower].merged for _, r, c in grids]
        assert (torch.cat(found) - expected_TC).abs().max() < 1e-5
        assert expected_TC.std() > 0.3

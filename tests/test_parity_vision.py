"""What a model sees, against transformers: a tiny random directory in the published layout, read by both."""

import dataclasses
import json

import pytest
import torch

from perilune.config import ModelConfig
from perilune.config_vision import read_vision_config
from perilune.model.checkpoint import save_checkpoint
from perilune.model.model import Transformer
from perilune.model.vision import Vision
from perilune.model.vision_checkpoint import load_vision

transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")

TABLE = {
    "patch_size": 14,
    "init_pos_emb_height": 8,
    "init_pos_emb_width": 8,
    "init_pos_emb_time": 4,
    "vt_hidden_size": 64,
    "vt_intermediate_size": 96,
    "vt_num_attention_heads": 4,
    "vt_num_hidden_layers": 3,
    "merge_kernel_size": [2, 2],
}
# transformers has no map from the published names of sizes to its own.
NATIVE = {
    "patch_size": 14,
    "pos_emb_height": 8,
    "pos_emb_width": 8,
    "pos_emb_time": 4,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "merge_kernel_size": [2, 2],
}
CASES = {
    "one picture as large as the table": [(1, 8, 8)],
    "odd shapes side by side": [(1, 2, 2), (1, 4, 26), (1, 10, 6), (1, 2, 14)],
    "clips": [(4, 6, 4), (4, 2, 10)],
    "a short clip": [(3, 4, 4)],
}


def random_vision(seed: int = 1, hidden_size: int = 64) -> Vision:
    vision = Vision(read_vision_config(TABLE), hidden_size)
    vision.init_weights(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in vision.named_parameters():
            if name.endswith("bias") or "norm" in name or "pos_emb" in name:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.2)
    return vision.eval()


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Both kinds of names stand in vision_config, so that both programs find theirs."""
    table = TABLE | NATIVE
    config = dataclasses.replace(ModelConfig.preset("tiny"), model_type="kimi_k25", quantization=None, dtype="float32")
    config = dataclasses.replace(config, vision=table, num_hidden_layers=2, media_placeholder_token_id=500)
    model = Transformer(config)
    model.init_weights(3)
    model.senses["vision"] = random_vision(hidden_size=config.hidden_size)
    at = tmp_path_factory.mktemp("sees")
    save_checkpoint(at, model)
    raw = json.loads((at / "config.json").read_text())
    (at / "config.json").write_text(json.dumps(raw | {"projection_hidden_size": TABLE["vt_hidden_size"]}))
    return at


@pytest.fixture(scope="module")
def theirs(directory):
    built, told = transformers.models.kimi_k25.Kimi_K25ForConditionalGeneration.from_pretrained(
        directory, dtype=torch.float32, output_loading_info=True
    )
    seen = [name for name in (*told["missing_keys"], *told["mismatched_keys"]) if "vision" in name or "mm_" in name]
    assert not seen
    return built.eval()


@pytest.mark.parametrize("grids", CASES.values(), ids=CASES)
def test_features_match_transformers(directory, theirs, grids):
    patches = torch.randn(sum(t * h * w for t, h, w in grids), 3, 14, 14, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        ours = load_vision(directory)(patches, grids)
        # Not get_image_features: it counts the tokens of a clip once for each frame.
        merged = theirs.model.vision_tower(patches, torch.tensor(grids)).pooler_output
        expected_TC = theirs.model.mm_projector(merged).squeeze(1)
    assert [len(x) for x in ours] == [rows * columns // 4 for _, rows, columns in grids]
    assert (torch.cat(ours) - expected_TC).norm() / expected_TC.norm() < 1e-4

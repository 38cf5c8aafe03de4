"""The published names of the vision tower: as many as published, and those of our modules."""

import torch

from perilune.config_vision import VisionConfig
from perilune.model.vision import Vision
from perilune.weights.vision_names import our_vision_name, vision_tensors


def test_the_tensors_of_k26_are_those_of_the_tower():
    table = vision_tensors(VisionConfig(), 7168)
    with torch.device("meta"):
        vision = Vision(VisionConfig(), 7168)
    assert len(table) == 335
    assert {name: tuple(weight.shape) for name, weight in vision.named_parameters()} == table
    assert not dict(vision.named_buffers())
    assert {
        "vision_tower.patch_embed.proj.weight": (1152, 3, 14, 14),
        "vision_tower.patch_embed.pos_emb.weight": (64, 64, 1152),
        "vision_tower.encoder.blocks.26.wqkv.weight": (3456, 1152),
        "vision_tower.encoder.blocks.26.mlp.fc1.weight": (1152, 4304),
        "vision_tower.encoder.final_layernorm.bias": (1152,),
        "mm_projector.pre_norm.weight": (1152,),
        "mm_projector.proj.0.weight": (4608, 4608),
        "mm_projector.proj.2.weight": (7168, 4608),
    }.items() <= table.items()


def test_kimi_vl_names_its_projector_differently():
    names = {
        "multi_modal_projector.pre_norm.bias": "mm_projector.pre_norm.bias",
        "multi_modal_projector.linear_1.weight": "mm_projector.proj.0.weight",
        "multi_modal_projector.linear_2.bias": "mm_projector.proj.2.bias",
        "multi_modal_projector.linear_10.bias": "mm_projector.linear_10.bias",
        "vision_tower.encoder.blocks.0.wo.bias": "vision_tower.encoder.blocks.0.wo.bias",
    }
    assert {name: our_vision_name(name) for name in names} == names

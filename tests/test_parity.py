"""Parity with Hugging Face transformers on tiny random models that lie on disk in the published layout."""

import dataclasses

import pytest
import torch

import perilune
from perilune.config import ModelConfig, QuantConfig, RopeConfig
from perilune.model.checkpoint import load_transformer, save_checkpoint
from perilune.model.model import Transformer
from perilune.model.moe import MoE

transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")

YARN = RopeConfig(50000.0, 8.0, 128, 32.0, 1.0, 1.0, 1.0)
BASE = dataclasses.replace(ModelConfig.preset("tiny"), model_type="deepseek_v3", initializer_range=0.08)
SHAPES = {
    "plain": BASE,
    "yarn": dataclasses.replace(BASE, rope=YARN),
    "no-q-lora": dataclasses.replace(BASE, q_lora_rank=None),
    "groups": dataclasses.replace(BASE, n_group=4, topk_group=2, norm_topk_prob=False),
    "wide-heads": dataclasses.replace(BASE, num_attention_heads=3, qk_nope_head_dim=48, v_head_dim=64),
    "k25": dataclasses.replace(BASE, model_type="kimi_k25", rope=YARN),
}


def random_model(config, seed, directory):
    """A random Transformer with a lively router, saved in the published layout of its family."""
    model = Transformer(config)
    model.init_weights(seed)
    for block in model.layers:
        if isinstance(block.mlp, MoE):
            block.mlp.gate.e_score_correction_bias.normal_(0, 0.05)
    save_checkpoint(directory, model)
    return directory


def reference(config, weights):
    """The same network in transformers, from the values that the checkpoint really holds."""
    raw = ModelConfig.to_dict(dataclasses.replace(config, model_type="deepseek_v3", quantization=None, vision=None))
    raw.pop("architectures", None)
    built = transformers.DeepseekV3Config(**{k: v for k, v in raw.items() if k not in ("model_type", "dtype")})
    built._attn_implementation = "eager"
    model = transformers.DeepseekV3ForCausalLM(built).float().eval()
    state = {}
    for name, tensor in weights.items():
        state[name if name.startswith("lm_head") else f"model.{name}"] = tensor
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all("inv_freq" in name for name in missing)
    return model


def reference_weights(model):
    """Our float weights under the names of transformers, experts fused as it fuses them."""
    state = {k: v.float() for k, v in model.state_dict().items() if ".experts." not in k}
    for i, block in enumerate(model.layers):
        if isinstance(block.mlp, MoE):
            gate, up, down = (
                torch.stack([w.float() for w in ws]) for ws in zip(*block.mlp.experts.weights, strict=True)
            )
            state[f"layers.{i}.mlp.experts.gate_up_proj"] = torch.cat((gate, up), dim=1)
            state[f"layers.{i}.mlp.experts.down_proj"] = down
    return state


@torch.inference_mode()
def pin_routes(ours, theirs, ids_BT):
    """Runs theirs, and pins our routers to the experts it chose: a near tie must not look like a fault."""
    chosen = []
    hooks = [
        layer.mlp.gate.register_forward_hook(lambda _m, _i, out: chosen.append(out[2]))
        for layer in theirs.model.layers
        if hasattr(layer.mlp, "gate")
    ]
    logits = theirs(ids_BT).logits
    for hook in hooks:
        hook.remove()
    for block, ids_TK in zip([b for b in ours.layers if isinstance(b.mlp, MoE)], chosen, strict=True):
        block.mlp.gate.pinned_ids_TK = ids_TK
    return logits


@torch.inference_mode()
def reference_greedy(model, ids_BT, count):
    cache, out = None, []
    for _ in range(count):
        result = model(ids_BT, past_key_values=cache, use_cache=True)
        cache, ids_BT = result.past_key_values, result.logits[:, -1:].argmax(-1)
        out.append(ids_BT.item())
    return out


def relative_error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


@pytest.mark.parametrize("quantised", [False, True], ids=["bf16", "int4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_logits_match_transformers(shape, quantised, tmp_path):
    config = dataclasses.replace(SHAPES[shape], quantization=QuantConfig() if quantised else None)
    directory = random_model(config, seed=11, directory=tmp_path / "model")
    ours = load_transformer(directory, int4_mode="float")
    theirs = reference(config, reference_weights(load_transformer(directory, int4_mode="unpacked")))
    ids_BT = torch.randint(0, config.vocab_size, (1, 65), generator=torch.Generator().manual_seed(5))
    expected_BTV = pin_routes(ours, theirs, ids_BT)
    with torch.inference_mode():
        assert relative_error(ours(ids_BT), expected_BTV) < 1e-4


@pytest.mark.parametrize("quantised", [False, True], ids=["bf16", "int4"])
def test_greedy_output_matches_transformers_over_256_tokens(quantised, tmp_path):
    config = dataclasses.replace(SHAPES["k25"], quantization=QuantConfig() if quantised else None)
    directory = random_model(config, seed=4, directory=tmp_path / "model")
    theirs = reference(config, reference_weights(load_transformer(directory, int4_mode="unpacked")))
    prompt = torch.randint(0, config.vocab_size, (1, 12), generator=torch.Generator().manual_seed(9))
    expected = reference_greedy(theirs, prompt, 256)
    ours = perilune.load(directory, int4="float")
    reply = ours.generate(prompt[0].tolist(), max_tokens=256, temperature=0.0, ignore_eos=True)
    assert list(reply.ids) == expected


def test_logits_need_no_tokenizer(tmp_path):
    directory = random_model(BASE, seed=2, directory=tmp_path / "model")
    assert perilune.load(directory).logits([1, 2, 3]).shape == (3, BASE.vocab_size)


def test_transformers_reads_the_directory_we_write(tmp_path):
    config = dataclasses.replace(SHAPES["yarn"], quantization=None, dtype="float32")
    directory = random_model(config, seed=7, directory=tmp_path / "model")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ours = load_transformer(directory)
    ids_BT = torch.arange(40)[None]
    expected_BTV = pin_routes(ours, theirs, ids_BT)
    with torch.inference_mode():
        assert relative_error(ours(ids_BT), expected_BTV) < 1e-4

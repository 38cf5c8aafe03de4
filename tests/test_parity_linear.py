"""Parity with transformers' kimi_linear on tiny random models that lie on disk in the published layout."""

import dataclasses

import pytest
import torch
from test_parity import pin_routes, reference_greedy, relative_error

import perilune
from perilune.config import LinearAttentionConfig, ModelConfig
from perilune.model.checkpoint import load_transformer, save_checkpoint
from perilune.model.delta import KimiDeltaAttention
from perilune.model.model import Transformer
from perilune.model.moe import MoE

transformers = pytest.importorskip("transformers", reason="parity needs the dev extra")
# transformers warns about the published name itself, even where its value is null.
pytestmark = pytest.mark.filterwarnings("ignore:`rope_scaling` is deprecated:FutureWarning")


def linear(kda_layers, full_attn_layers, taps=4):
    return LinearAttentionConfig(kda_layers, full_attn_layers, 3, 16, short_conv_kernel_size=taps)


BASE = dataclasses.replace(
    ModelConfig.preset("tiny"),
    model_type="kimi_linear",
    quantization=None,
    initializer_range=0.08,
    q_lora_rank=None,
    num_hidden_layers=4,
    mla_use_nope=True,
    rms_norm_eps=1e-5,
    linear_attention=linear((1, 2, 4), (3,)),
)
SHAPES = {
    "one-full-layer": BASE,
    "full-first": dataclasses.replace(BASE, linear_attention=linear((2, 4), (1, 3))),
    "three-taps": dataclasses.replace(BASE, linear_attention=linear((1, 2, 4), (3,), taps=3)),
    "groups": dataclasses.replace(BASE, n_group=4, topk_group=2, norm_topk_prob=False),
}


def random_directory(config, seed, directory, spread=1.0):
    """A random model with lively routers, convolutions, norms and gates; `spread` widens the range of decays."""
    model = Transformer(config)
    model.init_weights(seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for block in model.blocks:
            if isinstance(block.mlp, MoE):
                block.mlp.gate.e_score_correction_bias.normal_(0, 0.05)
            if isinstance(block.self_attn, KimiDeltaAttention):
                for conv in (block.self_attn.q_conv1d, block.self_attn.k_conv1d, block.self_attn.v_conv1d):
                    conv.weight.normal_(0, 0.5)
                block.self_attn.o_norm.weight.normal_(1, 0.3)
                block.self_attn.dt_bias.add_(torch.randn_like(block.self_attn.dt_bias) * spread)
    save_checkpoint(directory, model)
    return directory


def both(config, seed, directory, spread=1.0):
    """Ours and the network of transformers, each reading the same directory."""
    random_directory(config, seed, directory, spread)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    return load_transformer(directory), theirs.eval()


def random_ids(config, length, seed=5, rows=1):
    return torch.randint(0, config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("length", [1, 7, 65, 131])
def test_logits_match_transformers(shape, length, tmp_path):
    config = SHAPES[shape]
    ours, theirs = both(config, 11, tmp_path / "model")
    ids_BT = random_ids(config, length)
    expected_BTV = pin_routes(ours, theirs, ids_BT)
    with torch.inference_mode():
        assert relative_error(ours(ids_BT), expected_BTV) < 2e-5


def test_logits_match_where_gates_are_extreme(tmp_path):
    ours, theirs = both(BASE, 12, tmp_path / "model", spread=8.0)
    ids_BT = random_ids(BASE, 99)
    steepest = min(
        block.self_attn.log_decay(torch.zeros(1, 1, BASE.hidden_size)).min().item()
        for block in ours.blocks
        if isinstance(block.self_attn, KimiDeltaAttention)
    )
    assert steepest < -50.0
    expected_BTV = pin_routes(ours, theirs, ids_BT)
    with torch.inference_mode():
        assert relative_error(ours(ids_BT), expected_BTV) < 2e-5


@torch.inference_mode()
def cached_logits(ours, theirs, ids_BT, cuts):
    """Both read the same pieces, each on its own cache; ours takes the experts that theirs chose. [T, V] each"""
    state, cache, pieces = ours.new_state(), None, []
    moes = [block.mlp for block in ours.blocks if isinstance(block.mlp, MoE)]
    for piece_BT in ids_BT.split(cuts, dim=1):
        chosen = []
        hooks = [
            layer.mlp.gate.register_forward_hook(lambda _m, _i, out, chosen=chosen: chosen.append(out[2]))
            for layer in theirs.model.layers
            if hasattr(layer.mlp, "gate")
        ]
        result = theirs(piece_BT, past_key_values=cache, use_cache=True)
        for hook in hooks:
            hook.remove()
        cache = result.past_key_values
        for moe, ids_TK in zip(moes, chosen, strict=True):
            moe.gate.pinned_ids_TK = ids_TK
        length = piece_BT.shape[1]
        logits_TV = ours.decode(piece_BT[0], [state]) if length == 1 else ours.extend(piece_BT[0], state, False)
        state.advance(length)
        pieces.append((logits_TV, result.logits[0]))
    return [torch.cat(logits) for logits in zip(*pieces, strict=True)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("prompt", [2, 37, 64])
def test_cached_decoding_matches_transformers(shape, prompt, tmp_path):
    config = SHAPES[shape]
    ours, theirs = both(config, 13, tmp_path / "model")
    mine_TV, expected_TV = cached_logits(ours, theirs, random_ids(config, prompt + 24), [prompt, *[1] * 24])
    assert relative_error(mine_TV, expected_TV) < 2e-5
    assert relative_error(mine_TV[-1], expected_TV[-1]) < 2e-5


def test_a_prompt_read_in_pieces_matches_transformers(tmp_path):
    ours, theirs = both(BASE, 14, tmp_path / "model")
    mine_TV, expected_TV = cached_logits(ours, theirs, random_ids(BASE, 100), [35, 3, 18, 1, 43])
    assert relative_error(mine_TV, expected_TV) < 2e-5


def test_greedy_output_matches_transformers(tmp_path):
    _, theirs = both(BASE, 15, tmp_path / "model")
    prompt_BT = random_ids(BASE, 21)
    expected = reference_greedy(theirs, prompt_BT, 64)
    ours = perilune.load(tmp_path / "model")
    reply = ours.generate(prompt_BT[0].tolist(), max_tokens=64, temperature=0.0, ignore_eos=True)
    assert list(reply.ids) == expected


def test_decays_are_stored_with_full_precision(tmp_path):
    ours = load_transformer(random_directory(BASE, 16, tmp_path / "model"))
    attention = ours.blocks[0].self_attn
    assert isinstance(attention, KimiDeltaAttention)
    assert attention.A_log.dtype == attention.dt_bias.dtype == torch.float32
    assert attention.q_conv1d.weight.dtype == attention.q_proj.weight.dtype == torch.bfloat16

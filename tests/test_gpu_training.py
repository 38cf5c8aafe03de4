"""The forms that training takes on a GPU, on the processor: equal to the plain ones, and nothing made elsewhere."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_hearing import CHUNKED
from tiny_models import TOKENIZER, memory_config
from tiny_vision import TOWER

from perilune.corpus.sources import data_root
from perilune.kernels import runs, runs_cpu, where, windows_cpu
from perilune.model import grouped
from perilune.model.grouped import grouped_experts, grouped_products
from perilune.model.model import Transformer
from perilune.model.tower_init import fresh_senses, init_vision
from perilune.model.vision import Vision
from perilune.model.vision_together import seen_together
from perilune.text import specials as sp
from perilune.train.asking import AskRows, ask_loss
from perilune.train.loop import token_loss
from perilune.train.recipe import NANO_LIMITS
from perilune.train.seeing import ShownRows, media_rows

PAD = TOKENIZER.special_id(sp.MEDIA_PAD)
CONFIG = replace(memory_config(), vision=TOWER, audio=CHUNKED, media_placeholder_token_id=PAD)
needs_data = pytest.mark.skipif(not os.environ.get("PERILUNE_SHARED"), reason="PERILUNE_SHARED names no data")


def tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def texts(seed: int, vocabulary: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, vocabulary, (2, 12)), rng.integers(-1, vocabulary, (2, 40))
    return *ids, rng.random((2, 40)) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_runs_by_passes_are_those_of_the_loops_whole_and_in_parts(seed):
    a, b, breaks = texts(seed, vocabulary=2)
    begin = np.random.default_rng(seed).random(b.shape, np.float32)
    expected = runs_cpu.equal_runs(a, b, breaks, 6)
    made = runs.equal_runs_by_passes(*tensors(a, b, breaks), 6)
    assert (made.numpy() == expected).all() and expected.max() >= 4
    told, begun = runs_cpu.told(expected, breaks, 3), runs_cpu.begun(expected, begin, breaks)
    breaks, begin = tensors(breaks, begin)
    first, rest = made[:, :5], made[:, 5:]
    told_first, begun_first = runs.told_by_passes(first, breaks, 3), runs.begun_by_steps(first, begin, breaks)
    told_rest = runs.told_by_passes(rest, breaks, 3, told_first[:, -1])
    begun_rest = runs.begun_by_steps(rest, begin, breaks, begun_first[:, -1])
    assert (torch.cat((told_first, told_rest), 1).numpy() == told).all()
    assert (torch.cat((begun_first, begun_rest), 1).numpy() == begun).all()
    assert (runs.told_by_passes(made, breaks, 3).numpy() == told).all()


@pytest.mark.parametrize("seed", range(4))
def test_windows_by_passes_are_those_of_the_loops(seed):
    rng = np.random.default_rng(seed)
    match, weight = rng.random((3, 5, 4 * 16), np.float32), rng.random((3, 5), np.float32)
    joined = rng.random((3, 4)) < 0.5
    expected = windows_cpu.window_fits(match, weight, joined)
    made = runs.window_fits_by_passes(*tensors(match, weight, joined))
    torch.testing.assert_close(made, torch.from_numpy(expected), rtol=1e-5, atol=1e-6)


def test_grouped_products_come_close_to_exact_ones_and_so_do_their_gradients():
    generator = torch.Generator().manual_seed(0)
    x, gate, up, down = (
        torch.randn(*shape, generator=generator) * 0.3 for shape in ((50, 32), (8, 16, 32), (8, 16, 32), (8, 32, 16))
    )
    ids = torch.rand(50, 8, generator=generator).argsort(1)[:, :3]
    ids[ids == 5] = 6  # an expert without rows
    weights = torch.rand(50, 3, generator=generator)
    wanted = torch.randn(50, 32, generator=generator)

    def run(form):
        leaves = [t.clone().requires_grad_() for t in (x, weights, gate, up, down)]
        y = form(leaves[0], ids, *leaves[1:])
        return [y, *torch.autograd.grad((y * wanted).sum(), leaves)]

    for exact, close in zip(run(grouped_experts), run(grouped_products), strict=True):
        assert (exact - close).norm() < 0.02 * exact.norm()


def test_pictures_seen_together_are_those_seen_alone():
    vision = Vision(TOWER, 32)
    init_vision(vision, 0)
    grids = [(1, 4, 6), (2, 2, 2), (1, 8, 2)]
    side = TOWER.patch_size
    pixels = torch.randn(24 + 8 + 16, 3, side, side, generator=torch.Generator().manual_seed(1))
    for together, alone in zip(seen_together(vision, pixels, grids), vision(pixels, grids), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def gradients(model: Transformer, lesson) -> dict[str, torch.Tensor]:
    model.zero_grad()
    lesson(model).backward()
    return {name: w.grad.clone() for name, w in model.named_parameters() if w.grad is not None}


def lessons() -> dict:
    asked = AskRows(data_root(), TOKENIZER, 1, CONFIG.memory.chunk_size, 512, 8).batch(0, 0)
    shown = ShownRows(data_root(), TOKENIZER, CONFIG, NANO_LIMITS, 4, 3).batch(0, 0)

    def asking(model):
        made = ask_loss(model, asked)
        return made.replies + made.selection + made.spans

    return {"asked": asking, "shown": lambda model: token_loss(model, shown.rows, 0.0, media_rows(model, shown.media))}


@needs_data
@pytest.mark.parametrize("kind", ["asked", "shown"])
def test_a_step_is_the_same_on_a_device_and_makes_everything_there(monkeypatch, kind):
    """The processor stands in for the device; whatever names none is made nowhere, and would not meet the rest."""
    model = Transformer(CONFIG)
    model.init_weights(1)
    model.senses.update(fresh_senses(CONFIG, 1))
    lesson = lessons()[kind]
    expected = gradients(model, lesson)
    monkeypatch.setattr(where, "on_cpu", lambda x: False)
    exact = grouped._GroupedExperts.apply  # rounded products would send tokens to other experts
    monkeypatch.setattr(grouped, "grouped_products", exact)
    gradients(model, lesson)  # fills the caches of what is made once on the CPU
    with monkeypatch.context() as patch:
        patch.setattr(torch, "from_numpy", None)
        patch.setattr(torch.Tensor, "numpy", None)
        with torch.device("meta"):
            made = gradients(model, lesson)
    assert made.keys() == expected.keys() and len(made) > 50
    for name, grad in expected.items():
        assert (made[name] - grad).norm() <= 2e-3 * grad.norm() + 1e-6, name

"""Settings of a run: checked, told apart on resume, and the shape of nano."""

import dataclasses

import pytest

from perilune.errors import ConfigError
from perilune.train.recipe import TrainConfig, check_resume, nano, nano_senses, resolve_model

CONFIG = TrainConfig(data="d", tokenizer="t", out="o", steps=1000)


def changed(**changes):
    return dataclasses.replace(CONFIG, **changes)


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"rows": 3}, {"rows": 0}, {"qat_from": 1.5}, {"decay_share": -0.1}, {"device": "tpu"}],
    ids=str,
)
def test_impossible_settings_are_named(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        changed(**bad)


def test_questions_alone_may_teach():
    assert changed(rows=0, ask_tokens=512).rows == 0


def test_round_trip():
    assert TrainConfig.from_dict(CONFIG.to_dict()) == CONFIG
    with pytest.raises(ConfigError, match="learning_rate"):
        TrainConfig.from_dict({**CONFIG.to_dict(), "learning_rate": 1})


def test_places_and_intervals_may_change():
    check_resume(CONFIG, changed(out="x", data="y", minutes=3.0, save_every=7), 900)


@pytest.mark.parametrize("step, steps, message", [(800, 2000, "end of the run"), (600, 700, "at least 858")])
def test_steps_may_change_only_before_the_decay(step, steps, message):
    check_resume(CONFIG, changed(steps=2000), 600)
    with pytest.raises(ConfigError, match=message):
        check_resume(CONFIG, changed(steps=steps), step)


def test_nano_fits_the_published_grid():
    shape = nano(8192)
    assert shape.hidden_size % 32 == shape.moe_intermediate_size % 32 == 0
    assert (shape.bos_token_id, shape.eos_token_ids) == (7936, (7938,))


def test_nano_with_senses_is_nano_with_towers():
    assert dataclasses.replace(nano_senses(8192), vision=None, audio=None, media_placeholder_token_id=None) == nano(
        8192
    )
    assert nano_senses(8192).media_placeholder_token_id == 7957


def test_another_vocabulary_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(nano(4096).to_json())
    with pytest.raises(ConfigError, match="4096"):
        resolve_model(changed(model=str(tmp_path)), 8192)


def test_the_twin_with_full_attention_has_the_same_sizes():
    hybrid, full = resolve_model(changed(model="nano"), 8192), resolve_model(changed(model="nano-full"), 8192)
    assert full.memory is None and not any(full.is_kda_layer(i) for i in range(full.num_hidden_layers))
    assert dataclasses.replace(hybrid, memory=None, linear_attention=None) == full


def test_a_gpu_takes_one_thread():
    with pytest.raises(ConfigError, match="threads = 1"):
        changed(device="cuda", threads=2)


def test_families_have_weights():
    told = dataclasses.replace(CONFIG, families=" digit:2.5, clothing ")
    assert told.shown_families == {"digit": 2.5, "clothing": 1.0} and CONFIG.shown_families == {}
    for bad in ("digit:no", "digit:-1", "digit:0", "digit:inf", "digit:nan"):
        with pytest.raises(ConfigError, match="as in digit:2"):
            _ = dataclasses.replace(CONFIG, families=bad).shown_families

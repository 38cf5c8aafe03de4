"""A small model that sees and hears, from a directory, in conversation."""

import io
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_hearing import CHUNKED
from tiny_models import TOKENIZER, tiny_transformer
from tiny_senses import picture, sensing_model, sound

from perilune.api import senses as rooms
from perilune.api.model import Model
from perilune.errors import ContextError, MediaError, MessageError
from perilune.media import parts
from perilune.media.audio import load_audio
from perilune.media.decoded import Decoded
from perilune.media.parts import gather
from perilune.text import specials as sp


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return sensing_model(tmp_path_factory.mktemp("senses"))


def asked(*parts) -> list[dict]:
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]


def image(data) -> dict:
    return {"type": "image", "image": data}


def audio(data) -> dict:
    return {"type": "audio", "audio": data}


def perceived(model: Model, *parts):
    return model.senses.perceive(gather(asked(*parts), model.senses.has)[1])


def reply(model: Model, *parts):
    return model.chat(asked(*parts), max_tokens=12, temperature=0, thinking=False)


def test_towers_are_loaded_when_the_first_picture_comes(model):
    assert not model.transformer.senses
    assert model.chat([{"role": "user", "content": "Hello"}], max_tokens=2).content is not None
    model.render(asked(image(picture(0))))
    assert not model.transformer.senses
    reply(model, image(picture(0)))
    assert set(model.transformer.senses) == {"vision"}
    reply(model, audio(sound(440)))
    assert set(model.transformer.senses) == {"vision", "hearing"}


def test_a_picture_and_a_sound_take_the_tokens_they_should(model):
    bare = len(model.render(asked()).ids)
    pads = model.render(asked(image(picture(0, (57, 29))), audio(sound(440, 0.5)))).ids.count(
        TOKENIZER.special_id(sp.MEDIA_PAD)
    )
    assert pads == 3 * 2 + CHUNKED.num_tokens(0.5)
    assert reply(model, image(picture(0, (57, 29)))).usage.prompt_tokens > bare + 6


def test_what_is_seen_and_heard_changes_the_reply_and_the_same_gives_the_same(model):
    for make, one, other in ((image, picture(0), picture(128)), (audio, sound(300), sound(3000))):
        first = reply(model, make(one))
        assert reply(model, make(one)).content == first.content
        assert reply(model, make(other)).content != first.content


def test_rows_do_not_depend_on_the_company(model):
    both = perceived(model, image(picture(1)), image(picture(2)))
    alone = perceived(model, image(picture(2)))
    assert torch.equal(both[1].rows()[0], alone[0].rows()[0]) and both[1].digest == alone[0].digest


def test_a_path_is_read_and_the_content_counts_not_the_file(model, tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.bmp"
    first.write_bytes(picture(9))
    Image.open(first).save(second)
    digests = [perceived(model, image(p))[0].digest for p in (first, str(second))]
    assert digests[0] == digests[1]


def test_a_file_and_its_pixels_give_the_same_rows(model):
    with Image.open(io.BytesIO(picture(5))) as opened:
        pixels = Decoded("image", np.array(opened))
    samples = Decoded("audio", load_audio(sound(500)))
    files, arrays = perceived(model, image(picture(5)), audio(sound(500))), perceived(model, pixels.part, samples.part)
    for file, array in zip(files, arrays, strict=True):
        assert file.item == array.item and file.digest == array.digest
        assert torch.equal(file.rows()[0], array.rows()[0])
    assert reply(model, pixels.part).content == reply(model, image(picture(5))).content


def test_rows_are_kept_within_a_bound(model, monkeypatch):
    made = perceived(model, *(image(picture(i)) for i in range(3)))
    bytes_of_one = made[0].rows()[0].nbytes
    monkeypatch.setattr(rooms, "KEPT_BYTES", 2 * bytes_of_one)
    for one in made:
        model.senses._rows_of(one)
    assert list(model.senses._kept) == [made[1].digest, made[2].digest]


def test_the_next_turn_does_not_read_the_picture_again(model):
    messages = asked(image(picture(77, (280, 280))))
    first = model.chat(messages, max_tokens=4, temperature=0, thinking=False)
    more = [*messages, {"role": "assistant", "content": first.content}, {"role": "user", "content": "And now?"}]
    assert model.chat(more, max_tokens=4, temperature=0, thinking=False).usage.cached_tokens > 100


def test_what_the_context_cannot_hold_is_refused_before_a_tower_works(model):
    large, kept = Decoded("image", np.zeros((3000, 4000, 3), np.uint8)), set(model.senses._kept)
    with pytest.raises(ContextError, match=r"content\[1\]: up to here .* take 4204 tokens, .* holds 4096; send fewer"):
        reply(model, image(picture(2)), large.part)
    nearly = Decoded("image", np.zeros((1764, 1820, 3), np.uint8))
    assert perceived(model, nearly.part)[0].tokens == 4095
    with pytest.raises(ContextError, match="the prompt has"):
        reply(model, nearly.part)
    with pytest.raises(MediaError, match=r"messages\[0\].content\[0\]: .* at most 327\.68 s are heard"):
        reply(model, audio(sound(300, 330)))
    assert set(model.senses._kept) == kept


def test_items_pass_the_towers_one_at_a_time_and_the_same_one_once(model):
    at_once, most, made = 0, 0, []

    def rows(name):
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        sleep(0.01)
        made.append(name)
        at_once -= 1
        return [torch.zeros(1, 16)]

    names = [f"{i % 4}".encode() for i in range(16)]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda n: model.senses._rows_of(rooms.Perceived({}, (n,), lambda: rows(n))), names))
    assert most == 1 and sorted(made) == sorted(set(names)) and len(found) == 16


def test_a_model_without_a_sense_says_so_before_anything_is_read():
    blind = Model(tiny_transformer(), TOKENIZER)
    for part, told in ((image("no such file"), "no eyes"), (audio(b"no sound"), "no ears")):
        with pytest.raises(MessageError, match=rf"messages\[0\].content\[0\]: this model has {told}"):
            blind.chat(asked(part))


def test_damaged_media_and_too_many_are_refused_and_the_model_goes_on(model, monkeypatch):
    with pytest.raises(MediaError, match=r"messages\[0\].content\[0\]: this is no image"):
        reply(model, image(b"not a picture"))
    with pytest.raises(MediaError, match=r"messages\[0\].content\[1\]: the picture is damaged"):
        reply(model, image(picture(1)), image(picture(0)[:100]))
    with pytest.raises(MediaError, match=r"messages\[0\].content\[0\]: the sound is cut short"):
        reply(model, audio(sound(440)[:100]))
    monkeypatch.setattr(parts, "MAX_ITEMS", 2)
    with pytest.raises(MessageError, match=r"messages\[0\].content\[2\]: a conversation may have 2 media"):
        reply(model, *(image(picture(i)) for i in range(3)))
    assert reply(model, image(picture(3))).usage.prompt_tokens > 0

"""Decoders in processes of their own: kept, ended at their limits, replaced when they die, and gone when we are."""

import io
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sounds import encoded, tone
from test_patches import picture
from test_video import shade
from test_video import written as clip_of

from perilune.errors import MediaError
from perilune.media import decoders
from perilune.media.audio import load_audio
from perilune.media.decoder_pipe import each_frame, read_frames
from perilune.media.decoders import MAX_DECODERS, Decoders
from perilune.media.image import decode_image, load_image, patches_of
from perilune.media.settings import PUBLISHED
from perilune.media.sound_file import decode_sound
from perilune.media.video import load_clip

JOB = {"kind": "image", "config": asdict(PUBLISHED)}
READ = partial(read_frames, max_bytes=1 << 28)
TESTS = Path(__file__).parent
# A process of its own that decodes a picture, tells its decoder's number, and then does what is said.
USES = f"""
import io, os, sys, time
sys.path.insert(0, {str(TESTS)!r})
from test_decoders import JOB, READ, png
from perilune.media import decoders
from perilune.media.image import load_image
load_image(png(40, 30))
waiting = decoders.decoders().idle[0]
def told(answer):
    print(waiting.process.pid, flush=True)
    time.sleep(600)
"""


def png(width, height, mode="RGB"):
    out = io.BytesIO()
    picture(width, height).convert(mode).save(out, "PNG", compress_level=1)
    return out.getvalue()


@pytest.fixture
def pool():
    made = Decoders(2)
    yield made
    made.close()


def decode(pool, data, seconds=60.0, read=READ):
    return pool.decode(io.BytesIO(data), "the picture", JOB, seconds, read)


def is_gone(number):
    """Whether a process has ended, waited for; whoever inherits an orphan may leave its entry for a while."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_what_comes_back_has_the_bits_of_decoding_here():
    for mode in ("RGB", "RGBA", "L", "P", "1"):
        data = png(2047, 1999, mode)
        wanted = patches_of(decode_image(io.BytesIO(data)), PUBLISHED)
        found = load_image(data)
        assert np.array_equal(found.pixels_PCSS, wanted.pixels_PCSS)
        assert (found.grid, found.tokens) == (wanted.grid, wanted.tokens)
    for form in ("wav", "flac", "mp3", "m4a"):
        data = encoded(form, tone(44100, seconds=70.0), 44100)  # more than one record
        assert np.array_equal(load_audio(data), decode_sound(io.BytesIO(data), 3600.0))


def test_a_decoder_is_used_again_but_not_after_a_clip(pool, monkeypatch):
    monkeypatch.setattr(decoders, "_ours", [pool])
    load_image(png(40, 30))
    (first,) = pool.idle
    with pytest.raises(MediaError, match="damaged"):
        load_image(png(40, 30)[:300])
    load_audio(encoded("m4a", tone(16000), 16000))
    assert pool.idle == [first] and first.waits
    load_clip(clip_of([shade(1)]))
    assert not pool.idle and first.process.poll() is not None


def test_a_decoder_that_is_killed_at_work_is_one_error_and_is_replaced(pool):
    data = png(2000, 1500)  # its answer is larger than the line holds, so the decoder cannot be done before it is read
    decode(pool, data)
    (first,) = pool.idle

    def killed(answer):
        os.kill(first.process.pid, signal.SIGKILL)
        return READ(answer)

    with pytest.raises(MediaError, match=r"^the picture made its decoder stop without an answer: it is damaged"):
        decode(pool, data, read=killed)
    assert not pool.idle and is_gone(first.process.pid)
    assert decode(pool, data).frames[0].shape == (1500, 2000, 3)
    (second,) = pool.idle
    second.process.kill()
    second.process.wait()
    assert decode(pool, data).frames[0].shape == (1500, 2000, 3) and pool.idle != [second]


def watched(pool):
    """The answer about a clip whose frames are larger than the line holds, one by one."""
    clip = clip_of([shade(index, 640, 480) for index in range(12)], fps=2)
    job = JOB | {"kind": "video", "max_bytes": None}
    return pool.answer(io.BytesIO(clip), "the clip", job, 60.0)


def test_a_decoder_waits_while_nobody_reads_and_that_is_not_counted(pool, monkeypatch):
    now = 0.0
    monkeypatch.setattr(decoders, "monotonic", lambda: now)
    with watched(pool) as answer:
        indices = []
        for frame in each_frame(answer, 1 << 20):
            indices.append(frame.index)
            now += 1000.0
        assert indices == list(range(12))
    assert not pool.idle


@pytest.mark.parametrize("left", [None, EOFError, TimeoutError, KeyboardInterrupt])
def test_an_answer_that_is_left_ends_its_decoder_and_changes_no_error_of_ours(pool, left):
    decode(pool, png(40, 30))
    (decoder,) = pool.idle
    with pytest.raises(left) if left else nullcontext(), watched(pool) as answer:
        assert next(each_frame(answer, 1 << 20)).index == 0 and decoder.process.poll() is None
        if left:
            raise left
    assert decoder.process.returncode == -signal.SIGKILL and not pool.idle


def test_what_is_watched_has_one_of_the_places(pool):
    with watched(pool), watched(pool):
        assert not pool._places.acquire(blocking=False)
    assert decode(pool, png(40, 30)).frames


def test_a_decoder_that_is_killed_while_it_is_watched_is_one_error(pool):
    decode(pool, png(40, 30))
    (decoder,) = pool.idle
    with watched(pool) as answer:
        frames = each_frame(answer, 1 << 20)
        next(frames)
        decoder.process.kill()
        with pytest.raises(MediaError, match=r"^the clip made its decoder stop without an answer"):
            list(frames)
    assert not pool.idle


def test_a_file_that_needs_too_much_memory_ends_its_decoder_alone(pool, monkeypatch):
    data = png(6000, 6000, "RGBA")
    decode(pool, png(9, 9))
    (first,) = pool.idle
    monkeypatch.setattr(decoders, "MAX_PROCESS_BYTES", 400 << 20)
    with pytest.raises(MediaError, match="needs more than 419,430,400 bytes"):
        decode(pool, data)
    assert first.process.poll() is not None and not pool.idle
    monkeypatch.undo()
    assert decode(pool, data).frames


@pytest.mark.parametrize("used", [False, True])
def test_a_file_that_takes_too_long_ends_its_decoder_alone(pool, used):
    if used:
        decode(pool, png(9, 9))
    with pytest.raises(MediaError, match=r"^the picture took more than 0\.001 s to decode"):
        decode(pool, png(2000, 1500), seconds=0.001)
    assert not pool.idle and decode(pool, png(2000, 1500)).frames
    with pytest.raises(MediaError, match=r"^the sound took more than 0\.001 s to decode"):
        load_audio(encoded("flac", tone(44100, seconds=30.0), 44100), decode_seconds=0.001)


def test_an_answer_that_makes_no_sense_ends_the_decoder(pool):
    def confused(answer):
        answer.read(1)
        return READ(answer)

    with pytest.raises(MediaError, match="makes no sense"):
        decode(pool, png(40, 30), read=confused)
    assert not pool.idle


def test_what_a_decoder_says_unasked_is_nobodys_answer(pool):
    decode(pool, png(40, 30), read=lambda answer: answer.read(1))
    (first,) = pool.idle
    assert decode(pool, png(50, 20)).frames[0].shape == (20, 50, 3)
    assert pool.idle != [first] and first.process.returncode is not None


def test_many_at_once_share_the_decoders_and_get_their_own_answers(pool):
    sizes = [(60 + 7 * i, 40 + 3 * i) for i in range(24)]
    at_work = []

    def one(size):
        def read(answer):
            at_work.append(1)
            found = READ(answer)
            at_work.pop()
            return found

        seen = decode(pool, png(*size), read=read).frames[0]
        assert len(at_work) <= 2
        return np.array_equal(seen, np.asarray(decode_image(io.BytesIO(png(*size)))))

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(one, sizes))
    assert 1 <= len(pool.idle) <= 2 <= MAX_DECODERS


def test_ctrl_c_stops_a_reply_and_no_decoder(pool):
    decode(pool, png(40, 30))
    (first,) = pool.idle
    first.process.send_signal(signal.SIGINT)
    decode(pool, png(40, 30))
    assert pool.idle == [first]


def test_a_closed_pool_leaves_no_process():
    pool = Decoders(2)
    decode(pool, png(40, 30))
    (first,) = pool.idle
    pool.close()
    assert first.process.returncode is not None and not pool.idle


@pytest.mark.parametrize(
    ("does", "killed"),
    [
        ("print(waiting.process.pid)", False),
        ("print(waiting.process.pid, flush=True); time.sleep(600)", True),
        # While its decoder is busy: the answer is larger than the line holds.
        ("decoders.decode_apart(io.BytesIO(png(2000, 1500)), '', JOB, 600, told)", True),
    ],
    ids=["ends", "killed-while-it-waits", "killed-while-it-works"],
)
def test_no_decoder_outlives_the_process_it_works_for(does, killed):
    with subprocess.Popen([sys.executable, "-c", USES + does], stdout=subprocess.PIPE, text=True) as user:
        number = int(user.stdout.readline())
        if killed:
            user.kill()
        user.wait(60)
    assert (user.returncode == -signal.SIGKILL) == killed and is_gone(number)


def test_a_fork_has_decoders_of_its_own():
    does = """
child = os.fork()
load_image(png(60, 50))
print(decoders.decoders().idle[0].process.pid == waiting.process.pid, flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
    load_image(png(60, 50))
else:
    decoders.decoders().close()
    os._exit(0)
"""
    told = subprocess.run([sys.executable, "-c", USES + does], capture_output=True, text=True, check=True)
    assert sorted(told.stdout.split()) == ["False", "True"]


def test_keys_in_the_environment_stay_here(monkeypatch):
    monkeypatch.setenv("SECRET_KEY", "a secret")
    allowed = {"PYTHONPATH", "OMP_NUM_THREADS", "PATH", "LD_LIBRARY_PATH", "SYSTEMROOT"}
    assert set(decoders.decoder_environment()) <= allowed


def test_a_decoder_ends_first_where_memory_runs_out(pool):
    decode(pool, png(40, 30))
    score = Path(f"/proc/{pool.idle[0].process.pid}/oom_score_adj")
    if not score.exists():
        pytest.skip("this system has no such order")
    assert score.read_text().strip() == "1000"

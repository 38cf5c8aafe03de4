"""A camera → its sampled frames, read by FFmpeg; it runs in a decoder's process (decoder_worker.py).

What comes from a camera is sampled by the clock: the first picture after each tick of `sample_fps` is passed on, with
the number of the tick as its index.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from time import monotonic

import av

from perilune.errors import MediaError
from perilune.media import decoder_pipe as pipe
from perilune.media.patches import fit, resize
from perilune.media.settings import MediaConfig
from perilune.media.video_file import MAX_PIXELS, check_size, upright

# wrapped_avframe is how FFmpeg hands on pictures that were never compressed.
CODECS = "rawvideo,wrapped_avframe,mjpeg,h264"


def read_camera(
    device: str, form: str, options: dict[str, str], config: MediaConfig, seconds: float
) -> Iterator[bytes]:
    """The records of a camera, `seconds` long: its sampled frames, resized. `form` is FFmpeg's name for the input, and
    `options` are its own. Raises MediaError."""
    size, tick, began = None, 0, None
    with _opened(device, form, options) as pictures:
        for picture in pictures:
            check_size(picture.width, picture.height)
            now = monotonic()
            began = now if began is None else began
            if now - began >= seconds:
                break
            passed = int((now - began) * config.sample_fps)
            if passed < tick:
                continue
            image, tick = upright(picture), passed + 1
            if size is None:
                size = fit(*image.size, config.in_patch_limit_each_frame, config)
                yield pipe.sizes(*size, config.sample_fps)
            yield pipe.frame(passed, resize(image, size))
    yield pipe.record(pipe.END)


@contextmanager
def _opened(device: str, form: str, options: dict[str, str]) -> Generator[Iterator[av.VideoFrame], None, None]:
    decoding = {"codec_whitelist": CODECS, "max_pixels": str(MAX_PIXELS)}
    try:
        with av.open(device, format=form, options={**decoding, **options}) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = decoding
            yield container.decode(stream)
    except MediaError:
        raise
    except (av.FFmpegError, ValueError, OSError, IndexError) as error:
        told = getattr(error, "strerror", None) or "it gives no pictures that are known here"
        raise MediaError(f"the camera {device} cannot be read: {told}") from None

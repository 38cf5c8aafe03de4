"""The reader of a camera, in a process of its own under the limits of a clip's decoder (video_worker.py).

What comes from a camera is sampled by the clock: the first picture after each tick of `sample_fps` is passed on, with
the number of the tick as its index. It ends by itself after `seconds`.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import av

from perilune.errors import MediaError
from perilune.media import video_pipe
from perilune.media.patches import fit, resize
from perilune.media.settings import MediaConfig
from perilune.media.video_worker import MAX_PIXELS, check_size, upright, work

# wrapped_avframe is how FFmpeg hands on pictures that were never compressed.
CODECS = "rawvideo,wrapped_avframe,mjpeg,h264"


def main() -> None:
    work(_watch)


def _watch(job: dict[str, Any]) -> Iterator[bytes]:
    config = MediaConfig(**job["config"])
    size, tick, began = None, 0, None
    with _opened(job) as pictures:
        for picture in pictures:
            check_size(picture.width, picture.height)
            now = monotonic()
            began = now if began is None else began
            if now - began >= job["seconds"]:
                break
            passed = int((now - began) * config.sample_fps)
            if passed < tick:
                continue
            image, tick = upright(picture), passed + 1
            if size is None:
                size = fit(*image.size, config.in_patch_limit_each_frame, config)
                yield video_pipe.sizes(*size, config.sample_fps)
            yield video_pipe.frame(passed, resize(image, size))
    yield video_pipe.record(video_pipe.END)


@contextmanager
def _opened(job: dict[str, Any]) -> Generator[Iterator[av.VideoFrame], None, None]:
    decoding = {"codec_whitelist": CODECS, "max_pixels": str(MAX_PIXELS)}
    options = {**decoding, **job["options"]}
    try:
        with av.open(job["device"], format=job["format"], options=options) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = decoding
            yield container.decode(stream)
    except MediaError:
        raise
    except (av.FFmpegError, ValueError, OSError, IndexError) as error:
        told = getattr(error, "strerror", None) or "it gives no pictures that are known here"
        raise MediaError(f"the camera {job['device']} cannot be read: {told}") from None


if __name__ == "__main__":
    main()

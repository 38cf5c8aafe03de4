"""A clip's file → its sampled frames, decoded by FFmpeg; it runs in a decoder's process (decoder_worker.py).

FFmpeg may use the containers and decoders named here, and opens nothing by itself.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn

import av
from av.stream import Disposition
from PIL import Image

from perilune.errors import MediaError
from perilune.media import decoder_pipe as pipe
from perilune.media.patches import fit, resize
from perilune.media.settings import MediaConfig
from perilune.media.video import MAX_SECONDS, sample_indices

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,flv,ogg"
CODECS = "h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg1video,mpeg2video,mpeg4,mjpeg,theora,gif"
_WANTED = "an MP4, MOV, MKV, WebM, AVI, MPEG, FLV, Ogg or GIF file"
MAX_STREAMS = 32
MAX_DECODED_FRAMES = 1_000_000
MAX_PIXELS = 8192 * 4352
MAX_SIDE = 1 << 14
READ_BYTES = 1 << 18
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def decode_clip(file: BinaryIO, config: MediaConfig, max_bytes: int | None, threads: int) -> Iterator[bytes]:
    """The records of a clip: its sampled frames, resized, `max_bytes` of them (None: any number, as they are not held
    together). Raises MediaError."""
    count, fps = _count(file, threads)
    found, size = 0, None
    for attempt in range(2):
        wanted = sample_indices(count, fps, config)
        if attempt:
            yield pipe.record(pipe.AGAIN)
        chosen, found = iter(wanted), 0
        following = next(chosen)
        for picture in _pictures(file, threads):
            if found == following:
                image = upright(picture)
                if size is None:
                    size = fit(*image.size, config.in_patch_limit_each_frame, config)
                    if max_bytes is not None:
                        pipe.check_room(len(wanted), *size, max_bytes)
                    yield pipe.sizes(*size, fps)
                # Later frames of another size are brought to the size of the first, as players do.
                yield pipe.frame(found, resize(image, size))
                following = next(chosen, -1)
            found += 1
        if found >= count or not found:
            break
        # Some packets hold no picture of their own: count what there is, and choose again.
        count = found
    if not found:
        raise MediaError("the clip has no picture that can be decoded")
    yield pipe.record(pipe.END)


def _count(file: BinaryIO, threads: int) -> tuple[int, float]:
    """Frames and frames a second, from the packets; nothing is decoded."""
    with _opened(file, threads) as (container, stream):
        rate = stream.average_rate or stream.guessed_rate
        count, cut = 0, False
        for packet in container.demux(stream):
            if packet.size:
                count, cut = count + 1, packet.is_corrupt
            if count > MAX_DECODED_FRAMES:
                raise MediaError(f"the clip has more than {MAX_DECODED_FRAMES:,} frames; a shorter one is needed")
    if not count:
        raise MediaError("the clip has no frames")
    if cut:
        raise MediaError("the clip ends in the middle of a frame; the whole file is needed")
    if count > 1 and (not rate or rate <= 0):
        raise MediaError("the clip does not say how many frames it has a second")
    fps = float(rate) if rate and rate > 0 else 1.0
    if count / fps > MAX_SECONDS:
        raise MediaError(f"the clip takes {count / fps:,.0f} s; at most {MAX_SECONDS:,} s are looked at")
    return count, fps


def _pictures(file: BinaryIO, threads: int) -> Iterator[av.VideoFrame]:
    """The frames in the order in which they are seen; timestamps are not asked."""
    with _opened(file, threads) as (container, stream):
        for found, picture in enumerate(container.decode(stream)):
            check_size(picture.width, picture.height)
            if found >= MAX_DECODED_FRAMES:
                raise MediaError(f"the clip has more than {MAX_DECODED_FRAMES:,} frames; a shorter one is needed")
            yield picture


@contextmanager
def _opened(file: BinaryIO, threads: int) -> Generator[tuple[Any, Any], None, None]:
    file.seek(0)
    container_options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "", "max_streams": str(MAX_STREAMS)}
    # FFmpeg refuses larger frames itself, before it makes room for them.
    options = {"codec_whitelist": CODECS, "max_pixels": str(MAX_PIXELS)}
    try:
        with av.open(
            file,
            options=options,
            container_options=container_options,
            metadata_errors="replace",
            buffer_size=READ_BYTES,
            io_open=_refuse,
        ) as container:
            stream = _video_stream(container)
            stream.codec_context.options = options
            stream.codec_context.thread_count = threads
            stream.codec_context.thread_type = "AUTO"
            yield container, stream
    except MediaError:
        raise
    except MemoryError:
        raise MediaError("the clip needs too much memory to decode; a smaller one is needed") from None
    except (av.FFmpegError, ValueError, OSError, EOFError):
        # What FFmpeg says of a damaged file helps nobody, and may hold an address.
        raise MediaError(f"the clip cannot be read: it must be {_WANTED} that is whole") from None


def _video_stream(container: Any) -> Any:
    """The first stream of moving pictures; the cover of a song is none."""
    for stream in container.streams.video:
        if stream.disposition & Disposition.attached_pic:
            continue
        codec = stream.codec_context
        if codec is None or codec.name not in CODECS.split(","):
            name = "one that is unknown" if codec is None else codec.name
            raise MediaError(f"the clip's codec is {name}; it must be H.264, HEVC, VP8, VP9, AV1, MPEG or GIF")
        if not codec.width or not codec.height:
            raise MediaError(f"the clip's frames have no size that is known, or more than {MAX_PIXELS:,} pixels")
        check_size(codec.width, codec.height)
        return stream
    raise MediaError("the clip has no video stream; a clip without pictures goes in as sound")


def check_size(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise MediaError(
            f"the clip's frames are {width:,} × {height:,} pixels; at most {MAX_PIXELS:,} in all and {MAX_SIDE:,} "
            "on a side are decoded"
        )


def upright(picture: av.VideoFrame) -> Image.Image:
    image = picture.to_image()
    turn = _TURNS.get(picture.rotation % 360)
    return image if turn is None else image.transpose(turn)


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise MediaError("the clip asks for other files; it must hold everything itself")

"""A decoder: a process that reads files for another one, under limits, so that a hostile one can end nothing but this.

It gets an open file and a job at a time over the socket on its standard input, and answers with the records of
decoder_pipe.py. Limits come first: memory, processor time, nothing written to disk; where memory runs out all the
same, the system ends this process before the one that serves.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from perilune.errors import MediaError
from perilune.media import decoder_pipe as pipe
from perilune.media.confine import confine, confine_job
from perilune.media.patches import fit, resize
from perilune.media.settings import MediaConfig


def main() -> None:
    # Ctrl-C is the other process's business: it may only stop a reply.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = socket.socket(fileno=os.dup(0))
    threading.Thread(target=_end_with, args=(line,), daemon=True).start()
    confine(int(sys.argv[1]))
    with line.makefile("wb") as out:
        while (got := socket.recv_fds(line, pipe.MAX_JOB_BYTES, 1))[0]:
            content, (descriptor,) = got[:2]
            job = json.loads(content)
            confine_job(job["limits"]["bytes"], job["limits"]["seconds"])
            with os.fdopen(descriptor, "rb") as file:
                file.seek(0)
                try:
                    for record in KINDS[job["kind"]](file, job):
                        out.write(record)
                        out.flush()  # whoever watches waits for each frame
                except MediaError as error:
                    out.write(pipe.error(str(error)))
                    out.flush()


def _picture(file: BinaryIO, job: dict[str, Any]) -> Iterator[bytes]:
    from perilune.media.image import decode_image

    config, image = MediaConfig(**job["config"]), decode_image(file)
    size = fit(*image.size, config.in_patch_limit, config)
    yield pipe.sizes(*size, 1.0)
    yield pipe.frame(0, resize(image, size))
    yield pipe.record(pipe.END)


def _sound(file: BinaryIO, job: dict[str, Any]) -> Iterator[bytes]:
    from perilune.media.sound_file import decode_sound

    yield from pipe.pieces(decode_sound(file, job["max_seconds"]))
    yield pipe.record(pipe.END)


def _clip(file: BinaryIO, job: dict[str, Any]) -> Iterator[bytes]:
    from perilune.media.video_file import decode_clip

    return decode_clip(file, MediaConfig(**job["config"]), job["max_bytes"], job["limits"]["threads"])


def _camera(_: BinaryIO, job: dict[str, Any]) -> Iterator[bytes]:
    from perilune.media.camera_device import read_camera

    return read_camera(job["device"], job["format"], job["options"], MediaConfig(**job["config"]), job["seconds"])


# Each loads its library when its first file comes.
KINDS = {"image": _picture, "audio": _sound, "video": _clip, "camera": _camera}


def _end_with(line: socket.socket) -> None:
    """When the other process has ended, nobody wants an answer."""
    gone = select.poll()
    gone.register(line, 0)  # says POLLHUP and nothing else
    gone.poll()
    os._exit(0)


if __name__ == "__main__":
    main()

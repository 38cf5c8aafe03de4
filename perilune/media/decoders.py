"""Files from strangers are decoded in processes of their own, under limits: a hostile one can end nothing else.

A few decoders (decoder_worker.py) are kept and used again, since starting one takes longer than decoding a picture.
Those of clips and cameras are not: they hold what clips need, and none of the next client's media shall meet what a
clip did to them. Each listens on a socket over which it gets an open file and a job, and answers with the records of
decoder_pipe.py; while nobody reads them, it waits. It ends when its time is up, when it takes too much memory, and when
we do, however that happens.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import Any, BinaryIO, TypeVar

from perilune.errors import MediaError
from perilune.media.decoder_pipe import MAX_JOB_BYTES, Answer, Refused

MAX_DECODERS = 4  # at once; who comes next waits
MAX_PROCESS_BYTES = 2 << 30
USUAL_BYTES = 64 << 20  # what one holds while it waits, or works on a usual picture
DECODER_THREADS = 2
ENDING_SECONDS = 5.0
MAX_HELD_BYTES = 64 << 20  # of a file that came as bytes; what is larger goes to a decoder through the disk

_USED_ONCE = ("video", "camera")
_PASSED_ON = ("LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
_OUT_OF_TIME = -signal.SIGXCPU if hasattr(signal, "SIGXCPU") else None
_WORKER = "perilune.media.decoder_worker"

T = TypeVar("T")
Read = Callable[[Answer], T]


class Decoder:
    """One process, and the line to it."""

    def __init__(self) -> None:
        """Raises OSError where no process can be started."""
        with ExitStack() as stack:
            self.line, theirs = map(stack.enter_context, socket.socketpair())
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", _WORKER, str(MAX_PROCESS_BYTES)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=decoder_environment(),
            )
            theirs.close()
            stack.pop_all()

    @property
    def waits(self) -> bool:
        """Whether it is there and says nothing unasked, which would pass for the next answer."""
        unasked = select.poll()
        unasked.register(self.line, select.POLLIN)
        return self.process.poll() is None and not unasked.poll(0)

    def ended(self) -> int | None:
        """How it ended, where its line has; None for one that goes on all the same."""
        try:
            return self.process.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.line.close()


class _Answer:
    """What a decoder says of a file, which has been waited for at most so many seconds in all."""

    def __init__(self, decoder: Decoder, what: str, seconds: float) -> None:
        self._decoder, self._what, self._seconds, self._left = decoder, what, seconds, seconds

    def read(self, count: int) -> bytearray:
        """So many bytes. Raises MediaError where the decoder ends before, or takes too long."""
        content, got = bytearray(count), 0
        while got < count:
            came = self._receive(memoryview(content)[got:])
            if not came:
                raise self._stopped()
            got += came
        return content

    def _receive(self, place: memoryview) -> int:
        """How many bytes came; 0 where the line ends."""
        began = monotonic()
        try:
            # A timeout of 0 would mean not to wait at all, and to say so in another way.
            self._decoder.line.settimeout(max(1e-6, self._left))
            return self._decoder.line.recv_into(place)
        except TimeoutError:
            raise self._too_long() from None
        except ConnectionError:
            return 0
        finally:
            self._left -= monotonic() - began

    def _stopped(self) -> MediaError:
        if self._decoder.ended() == _OUT_OF_TIME:
            return self._too_long()
        return MediaError(
            f"{self._what} made its decoder stop without an answer: it is damaged, or needs more than "
            f"{MAX_PROCESS_BYTES:,} bytes to decode"
        )

    def _too_long(self) -> MediaError:
        return MediaError(f"{self._what} took more than {self._seconds:g} s to decode; a shorter one is needed")


class Decoders:
    """At most `most` decoders at work, and those that wait for work."""

    def __init__(self, most: int) -> None:
        self._places, self._lock = threading.BoundedSemaphore(most), threading.Lock()
        self.idle: list[Decoder] = []

    def decode(self, file: BinaryIO, what: str, job: dict[str, Any], seconds: float, read: Read[T]) -> T:
        """What `read` makes of a decoder's answer."""
        with self.answer(file, what, job, seconds) as answer:
            return read(answer)

    @contextmanager
    def answer(self, file: BinaryIO, what: str, job: dict[str, Any], seconds: float) -> Generator[Answer, None, None]:
        """A decoder's answer to a job about a file, within `seconds` in which it is waited for; it takes one of the
        places as long as the context is open. `what` names the file in errors: "the clip". Raises MediaError, also
        where the answer is read, for what cannot be decoded. `job` has a kind: "image", "audio", "video", "camera"."""
        limits = {"bytes": MAX_PROCESS_BYTES, "seconds": int(seconds * DECODER_THREADS) + 1, "threads": DECODER_THREADS}
        asked = json.dumps(job | {"limits": limits}).encode()
        assert len(asked) <= MAX_JOB_BYTES
        with self._places, _on_disk(file, what) as readable:
            decoder, healthy = self._asked(asked, readable.fileno()), False
            try:
                yield _Answer(decoder, what, seconds)
                healthy = True
            except Refused:
                healthy = True
                raise
            finally:
                if healthy and job["kind"] not in _USED_ONCE:
                    with self._lock:
                        self.idle.append(decoder)
                else:
                    decoder.end()

    def close(self) -> None:
        """Ends those that wait."""
        with self._lock:
            ending, self.idle = self.idle, []
        for decoder in ending:
            decoder.end()

    def _asked(self, job: bytes, descriptor: int) -> Decoder:
        """A decoder that has got the job: one that waits, or a new one."""
        while True:
            with self._lock:
                waiting = self.idle.pop() if self.idle else None
            try:
                decoder = waiting or Decoder()
            except OSError as error:
                raise MediaError(f"no decoder can be started: {error.strerror}; try again") from None
            try:
                if decoder.waits:
                    decoder.line.settimeout(ENDING_SECONDS)
                    socket.send_fds(decoder.line, [job], [descriptor])
                    return decoder
            except OSError:  # it ended since
                pass
            decoder.end()
            if waiting is None:
                raise MediaError("a decoder ended as soon as it was started; try again")


def decode_apart(file: BinaryIO, what: str, job: dict[str, Any], seconds: float, read: Read[T]) -> T:
    """As Decoders.decode, with the decoders of this process."""
    return decoders().decode(file, what, job, seconds, read)


def decoders() -> Decoders:
    """Those of this process."""
    return _ours[-1]


def decoder_environment() -> dict[str, str]:
    """The same modules, wherever they come from, and little of our environment: keys may lie there."""
    modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": "1"}
    return modules | {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


@contextmanager
def _on_disk(file: BinaryIO, what: str) -> Generator[BinaryIO, None, None]:
    """What another process can read by itself: an open file."""
    if not isinstance(file, io.BytesIO):
        yield file
        return
    with ExitStack() as stack:
        try:
            spooled = stack.enter_context(_spool(file.getbuffer().nbytes))
            spooled.write(file.getbuffer())
            spooled.flush()
        except OSError as error:
            raise MediaError(f"{what} cannot be put on disk for its decoder: {error.strerror}") from None
        yield spooled


def _spool(size: int) -> BinaryIO:
    if size <= MAX_HELD_BYTES and hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("media"), "w+b")
    return tempfile.TemporaryFile()


def _begin_anew() -> None:
    """In a child that was forked: it must not talk over its parent's lines, nor hold them open."""
    for decoder in decoders().idle:
        decoder.line.close()
    _ours.append(Decoders(MAX_DECODERS))


_ours = [Decoders(MAX_DECODERS)]
atexit.register(lambda: decoders().close())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)

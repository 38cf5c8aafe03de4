"""One reader per media source: an archive → its pieces, which know where their bytes lie and decode them late."""

import io
import json
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr
from PIL import Image

from perilune.corpus import media_labels as labels
from perilune.corpus.media import SAMPLE_RATE, Piece
from perilune.corpus.readers import clean
from perilune.errors import ConfigError

INDEX = "index.jsonl"
TRASH_RUN, GROCERY_RUN = 25, 5
CLIP_WIDTH, CLIP_RATE = 160, 8.0
WINDOW_FRAMES = 24


@dataclass(frozen=True)
class Slice:
    """Where the bytes of one archived file lie."""

    path: Path
    offset: int
    size: int

    def bytes(self) -> io.BytesIO:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def rows(path: Path) -> Iterator[tuple[dict[str, Any], Slice]]:
    """Every row of the archive's index with the file it tells of."""
    with tarfile.open(path) as archive:
        members = {member.name: Slice(path, member.offset_data, member.size) for member in archive}
    if INDEX not in members:
        raise ConfigError(f"{path} has no {INDEX}: it is not an archive of this project's data folder")
    for line in members[INDEX].bytes().read().decode("utf-8").splitlines():
        row = json.loads(line)
        yield row, members[row["file"]]


def picture(place: Slice, mode: str = "RGB") -> np.ndarray:
    return _opened(place.bytes().read(), mode)


def recording(place: Slice) -> np.ndarray:
    """Mono int16 samples at 16 kHz."""
    samples_S, rate = soundfile.read(place.bytes(), dtype="float32", always_2d=True)
    mono_S = soxr.resample(samples_S.mean(axis=1), rate, SAMPLE_RATE)
    return np.clip(np.rint(mono_S * 32768), -32768, 32767).astype(np.int16)


@lru_cache(maxsize=4)
def footage(place: Slice) -> np.ndarray:
    """A whole clip at CLIP_RATE frames a second, CLIP_WIDTH wide."""
    frames = []
    with av.open(place.bytes(), mode="r") as container:
        stream = container.streams.video[0]
        every = float(stream.average_rate or CLIP_RATE) / CLIP_RATE
        for number, frame in enumerate(container.decode(stream)):
            if number >= len(frames) * every:
                height = round(CLIP_WIDTH * frame.height / frame.width)
                frames.append(frame.reformat(CLIP_WIDTH, height, "rgb24").to_ndarray())
    return np.stack(frames)


def grocery(path: Path) -> list[Piece]:
    """Shots that follow each other may show one shelf, so they stand on one side in runs."""
    pieces = []
    for row, place in rows(path):
        group = f"{row['file'].rsplit('_', 1)[0]}:{_number(row['file']) // GROCERY_RUN}"
        pieces.append(
            Piece(
                group, labels.GROCERIES[row["coarse"]], partial(picture, place), {"fine": labels.FINER.get(row["name"])}
            )
        )
    return pieces


def trash(path: Path) -> list[Piece]:
    return [
        Piece(f"{row['name']}:{_number(row['file']) // TRASH_RUN}", row["name"], partial(picture, place))
        for row, place in rows(path)
    ]


def storybook(path: Path) -> list[Piece]:
    pieces = []
    for row, place in rows(path):
        text = clean(row["text"].replace("\n", " "))
        pieces.append(Piece(row["story"], text, partial(picture, place)))
    return pieces


def pictographs(path: Path) -> list[Piece]:
    """Arrays keep their alpha, so that a pictograph can stand on any ground."""
    pieces = []
    for row, place in rows(path):
        name = labels.pictograph(row)
        if name is not None:
            about = {"kind": labels.PICTOGRAPH_KINDS[row["group"]]}
            pieces.append(Piece(row["name"], name, partial(picture, place, "RGBA"), about))
    return pieces


def statements(path: Path) -> list[Piece]:
    """Pictures with a sentence that is true or false; the same sentence comes with several pictures."""
    pieces = []
    for row, place in rows(path):
        sentence = clean(row["sentence"])
        sentence = sentence[0].upper() + sentence[1:].rstrip(" .") + "."
        pieces.append(Piece(row["file"].split("-")[1], row["label"], partial(picture, place), {"sentence": sentence}))
    return pieces


def grey_squares(names: Callable[[int], str], path: Path) -> list[Piece]:
    """28 × 28 grey pictures of an .npz: `images` [N, 28, 28] and `labels` [N]."""
    with np.load(path, allow_pickle=False) as arrays:
        images, numbers = arrays["images"], arrays["labels"]
    return [
        Piece(str(index), names(int(number)), partial(_in_colour, image))
        for index, (image, number) in enumerate(zip(images, numbers, strict=True))
    ]


clothing = partial(grey_squares, lambda number: labels.CLOTHES[number])
digits = partial(grey_squares, str)


def characters(path: Path) -> list[Piece]:
    """Handwritten characters of many alphabets, each drawn by twenty people."""
    pieces = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                _, alphabet, character, _ = name.split("/")
                label = f"{alphabet}/{character}"
                pieces.append(Piece(label, label, partial(_opened, archive.read(name))))
    return pieces


def spoken_digits(path: Path) -> list[Piece]:
    return [Piece(row["speaker"], str(row["digit"]), partial(recording, place)) for row, place in rows(path)]


def spoken_words(path: Path) -> list[Piece]:
    return [Piece(row["speaker"], row["word"], partial(recording, place)) for row, place in rows(path)]


def orders(path: Path) -> list[Piece]:
    """Nobody wrote down who speaks, so one voice may stand on both sides of the split."""
    pieces = []
    for row, place in rows(path):
        slots = labels.order(row["slots"])
        pieces.append(Piece(row["file"], labels.order_phrase(slots), partial(recording, place), slots))
    return pieces


def sounds(path: Path) -> list[Piece]:
    return [
        Piece(f"fold {row['fold']}", labels.SOUNDS[row["sound"]], partial(recording, place))
        for row, place in rows(path)
    ]


SCENES = {
    "asl": "A person speaks with the hands.",
    "car-detection": "Cars drive by.",
    "bottle-detection": "A hand moves bottles.",
    "one-by-one-person-detection": "People walk by.",
}


def clips(path: Path) -> list[Piece]:
    """Short clips whole; of a long one windows, of which the last quarter is held out."""
    pieces = []
    for row, place in rows(path):
        stem = row["file"].split(".")[0]
        if stem.startswith("asl_"):
            pieces.append(Piece(stem, SCENES["asl"], partial(footage, place), rate=CLIP_RATE))
            continue
        windows = row["frames"] // WINDOW_FRAMES
        for window in range(windows):
            side = "last quarter" if window >= windows - windows // 4 else "before"
            decode = partial(_window, place, window * WINDOW_FRAMES)
            pieces.append(Piece(f"{stem}, {side}", SCENES[stem], decode, rate=CLIP_RATE))
    return pieces


def _window(place: Slice, start: int) -> np.ndarray:
    return footage(place)[start : start + WINDOW_FRAMES].copy()


def _number(name: str) -> int:
    """The number a file's name ends with: train_…_012.jpg → 12."""
    found = re.search(r"(\d+)\.\w+$", name)
    if found is None:
        raise ConfigError(f"{name} should end with a number, as in name_012.jpg")
    return int(found.group(1))


def _in_colour(image_HW: np.ndarray) -> np.ndarray:
    return np.repeat(image_HW[:, :, None], 3, axis=2)


def _opened(encoded: bytes, mode: str = "RGB") -> np.ndarray:
    with Image.open(io.BytesIO(encoded)) as image:
        return np.array(image.convert(mode))

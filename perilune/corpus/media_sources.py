"""The licensed sources of pictures, sounds and clips, and which of their groups are held out.

The folders hold parts chosen for training; what their makers test on is mostly left out of them already.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from perilune.corpus import media_readers as readers
from perilune.corpus.media import MediaSource
from perilune.corpus.split import is_held_out
from perilune.errors import ConfigError


def _by_hash(name: str, one_in: int) -> Callable[[str], bool]:
    return partial(is_held_out, name, one_in=one_in)


def _every_eighth_run(group: str) -> bool:
    """By number, not by hash: the smallest class has five runs, and each class should stand on both sides."""
    return int(group.rsplit(":", 1)[1]) % 8 == 2


def _clip(group: str) -> bool:
    return group.endswith("last quarter") or (group.startswith("asl_") and is_held_out("video_intel", group, 5))


MEDIA_SOURCES: tuple[MediaSource, ...] = (
    MediaSource(
        "grocery_photos",
        "Grocery Store Dataset, natural photos",
        "MIT",
        "Grocery Store Dataset (M. Klasson et al. 2019)",
        "https://github.com/marcusklasson/GroceryStoreDataset",
        ("grocery_train.tar",),
        "image",
        readers.grocery,
        _by_hash("grocery_photos", 10),
    ),
    MediaSource(
        "storybook_images",
        "African Storybook, illustrations with their sentences",
        "CC BY 4.0",
        "African Storybook authors and illustrators (named per story in the source)",
        "https://github.com/global-asp/asp-imagebank",
        ("storybook_train.tar",),
        "image",
        readers.storybook,
        _by_hash("storybook_images", 12),
    ),
    MediaSource(
        "noto_emoji",
        "Noto Emoji pictures with the names of unicode-emoji-json",
        "Apache-2.0 (pictures), MIT (names), public domain (flags)",
        "Noto Emoji, Google; unicode-emoji-json, Mu-An Chiou",
        "https://github.com/googlefonts/noto-emoji",
        ("noto_emoji_128.tar",),
        "image",
        readers.pictographs,
        _by_hash("noto_emoji", 12),
    ),
    MediaSource(
        "trashnet_photos",
        "TrashNet, photos of waste in six classes",
        "MIT",
        "TrashNet (G. Thung, M. Yang)",
        "https://github.com/garythung/trashnet",
        ("trashnet_train.tar",),
        "image",
        readers.trash,
        _every_eighth_run,
    ),
    MediaSource(
        "fashion_mnist",
        "Fashion-MNIST, part",
        "MIT",
        "Fashion-MNIST, Zalando SE",
        "https://github.com/zalandoresearch/fashion-mnist",
        ("train.npz",),
        "image",
        readers.clothing,
        _by_hash("fashion_mnist", 10),
    ),
    MediaSource(
        "mnist_t10k",
        "MNIST handwritten digits, part",
        "CC BY-SA 3.0 (as usually given)",
        "MNIST (Y. LeCun, C. Cortes)",
        "https://yann.lecun.com/exdb/mnist",
        ("digits.npz",),
        "image",
        readers.digits,
        _by_hash("mnist_t10k", 10),
    ),
    MediaSource(
        "nlvr",
        "NLVR, rendered pictures with sentences by people",
        "CC BY 4.0",
        "NLVR (A. Suhr et al. 2017)",
        "https://github.com/lil-lab/nlvr",
        ("nlvr_dev.tar",),
        "image",
        readers.statements,
        _by_hash("nlvr", 10),
    ),
    MediaSource(
        "omniglot_small",
        "Omniglot, minimal background sets",
        "MIT",
        "Omniglot (B. Lake)",
        "https://github.com/brendenlake/omniglot",
        ("images_background_small1.zip", "images_background_small2.zip"),
        "image",
        readers.characters,
        _by_hash("omniglot_small", 10),
    ),
    MediaSource(
        "spoken_digits_fsdd",
        "Free Spoken Digit Dataset",
        "CC BY-SA 4.0",
        "Free Spoken Digit Dataset (Z. Jackson and contributors)",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        ("fsdd_train.tar",),
        "audio",
        readers.spoken_digits,
        lambda speaker: speaker == "theo",
    ),
    MediaSource(
        "spoken_commands_coffee",
        "Picovoice speech-to-intent benchmark, spoken coffee orders",
        "Apache-2.0",
        "Picovoice",
        "https://github.com/Picovoice/speech-to-intent-benchmark",
        ("coffee_train.tar",),
        "audio",
        readers.orders,
        _by_hash("spoken_commands_coffee", 8),
    ),
    MediaSource(
        "sounds_esc10",
        "ESC-10, everyday sounds",
        "CC BY 3.0 (each clip CC0 or CC BY)",
        "ESC-10 (K. J. Piczak) and the recordists of freesound.org, named per clip in its ATTRIBUTION.md",
        "https://github.com/karolpiczak/ESC-10",
        ("esc10_train.tar",),
        "audio",
        readers.sounds,
        lambda fold: fold == "fold 4",
    ),
    MediaSource(
        "speech_commands_sample",
        "Speech Commands 0.01, part",
        "CC BY 4.0",
        "Speech Commands (P. Warden, Google)",
        "https://github.com/vinsis/speech-commands-recognition",
        ("sc_train.tar",),
        "audio",
        readers.spoken_words,
        _by_hash("speech_commands_sample speakers", 6),
    ),
    MediaSource(
        "video_intel",
        "Intel IoT sample videos",
        "CC BY 4.0",
        "Intel Corporation",
        "https://github.com/intel-iot-devkit/sample-videos",
        ("video_train.tar",),
        "video",
        readers.clips,
        _clip,
    ),
)


def media_index(root: Path) -> dict[str, dict[str, Any]]:
    """For the record of a run: how many pieces of each source teach, and the hashes of its files."""
    return {s.name: {"pieces": len(s.pieces(root)), "files": s.sha256(root)} for s in MEDIA_SOURCES}


def media_source(name: str) -> MediaSource:
    for candidate in MEDIA_SOURCES:
        if candidate.name == name:
            return candidate
    raise ConfigError(f"no media source is called {name!r}; there are {', '.join(s.name for s in MEDIA_SOURCES)}")

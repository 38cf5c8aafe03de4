"""The settings of preprocessing: the published values, what a file may say, and what it may not."""

import json

import pytest

from perilune.errors import ConfigError
from perilune.media.settings import FILE_NAME, PUBLISHED, MediaConfig

FILE = {
    "in_patch_limit": 16384,
    "patch_size": 14,
    "merge_kernel_size": 2,
    "patch_limit_on_one_side": 512,
    "fixed_output_tokens": None,
    "in_patch_limit_each_frame": 4096,
    "in_patch_limit_video": None,
    "sample_fps": 2.0,
    "max_num_frames_each_video": None,
    "temporal_merge_kernel_size": 4,
    "timestamp_mode": "hh:mm:ss.fff",
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def test_the_published_file_gives_the_defaults(tmp_path):
    (tmp_path / FILE_NAME).write_text(json.dumps({"media_proc_cfg": FILE, "auto_map": {}}))
    assert MediaConfig.load(tmp_path) == PUBLISHED == MediaConfig()
    assert PUBLISHED.to_dict() == {"media_proc_cfg": FILE}
    assert PUBLISHED.token_side == 28 and PUBLISHED.longest_side == 7168


def test_small_settings_survive_a_file():
    small = MediaConfig(
        patch_size=16, in_patch_limit=64, sample_fps=1, max_num_frames_each_video=8, image_mean=(0, 1, 0.25)
    )
    assert MediaConfig.from_dict(json.loads(json.dumps(small.to_dict()))) == small
    assert MediaConfig.from_dict({"media_proc_cfg": {"image_mean": 0.25}}).image_mean == (0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("patch_size", 0),
        ("patch_size", 14.0),
        ("merge_kernel_size", True),
        ("merge_kernel_size", 3),
        ("in_patch_limit", -1),
        ("in_patch_limit", 1 << 40),
        ("in_patch_limit_each_frame", "4096"),
        ("patch_limit_on_one_side", 1 << 20),
        ("temporal_merge_kernel_size", 0),
        ("sample_fps", 0),
        ("sample_fps", float("nan")),
        ("max_num_frames_each_video", 0),
        ("fixed_output_tokens", 256),
        ("in_patch_limit_video", 8192),
        ("timestamp_mode", "mm:ss"),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, 0.5, float("inf")]),
        ("image_std", [0.5, 0.0, 0.5]),
        ("image_std", [0.5, "0.5", 0.5]),
    ],
)
def test_what_no_rule_follows_is_refused_by_name(field, value):
    with pytest.raises(ConfigError, match=field):
        MediaConfig.from_dict({"media_proc_cfg": FILE | {field: value}})


def test_a_file_without_the_table_is_refused():
    with pytest.raises(ConfigError, match="media_proc_cfg"):
        MediaConfig.from_dict({"patch_size": 14, "merge_size": 2})

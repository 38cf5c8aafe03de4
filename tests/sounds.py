"""Small sound files that tests make themselves, in every format that is read."""

import io

import av
import numpy as np
import soundfile

SNDFILE = {
    "wav": ("WAV", "PCM_16"),
    "wav float": ("WAV", "FLOAT"),
    "rf64": ("RF64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg vorbis": ("OGG", "VORBIS"),
    "ogg opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
CONTAINERS = {
    "m4a": ("ipod", "aac"),
    "mp4 opus": ("mp4", "libopus"),
    "webm": ("webm", "libopus"),
    "mka flac": ("matroska", "flac"),
    "aac": ("adts", "aac"),
}
FORMATS = (*SNDFILE, *CONTAINERS)


def tone(rate, seconds=1.0, channels=1, hertz=440.0):
    """A sine of half full scale: float32 [T, C]."""
    time_T = np.arange(round(rate * seconds)) / rate
    wave_T = 0.5 * np.sin(2 * np.pi * hertz * time_T)
    return np.repeat(wave_T[:, None], channels, 1).astype(np.float32)


def noise(samples, seed=0, loudness=0.1):
    return (np.random.default_rng(seed).standard_normal(samples) * loudness).astype(np.float32)


def encoded(form, samples_TC, rate, **options):
    """The bytes of a sound file of that format; `options` go to FFmpeg's writer of the container."""
    buffer = io.BytesIO()
    if form in SNDFILE:
        kind, subtype = SNDFILE[form]
        soundfile.write(buffer, samples_TC, rate, format=kind, subtype=subtype)
        return buffer.getvalue()
    kind, codec = CONTAINERS[form]
    layout = "mono" if samples_TC.shape[1] == 1 else "stereo"
    with av.open(buffer, "w", format=kind, options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples_TC.T), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        for part in (frame, None):
            container.mux(stream.encode(part))
    return buffer.getvalue()

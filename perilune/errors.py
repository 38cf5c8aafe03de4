"""Every error perilune raises on purpose: one root, one class for each kind of cause."""


class PeriluneError(Exception):
    """The root: catch this to catch them all."""


class ConfigError(PeriluneError):
    """A config.json that is unknown, contradictory or out of range."""


class WeightsError(PeriluneError):
    """Weight files that are damaged, incomplete or do not fit the config."""


class TokenizerError(PeriluneError):
    """Tokenizer files that cannot be read, or ids and text that cannot be coded."""


class MessageError(PeriluneError):
    """Chat messages or tools that cannot be rendered."""


class ContextError(PeriluneError):
    """A prompt that does not fit the context."""


class RequestError(PeriluneError):
    """A sampling value or request field that is out of range."""

"""Every error perilune raises on purpose: what was wrong, and what would be right."""


class PeriluneError(Exception):
    """Base of all errors below; catch it to catch them all."""


class ConfigError(PeriluneError):
    """A config.json is missing, unknown to us or contradicts itself."""


class WeightsError(PeriluneError):
    """A checkpoint file is damaged, incomplete or does not match its config."""


class TokenizerError(PeriluneError):
    """A vocabulary file is damaged, or text or ids cannot be encoded or decoded."""


class MessageError(PeriluneError):
    """A chat message, tool or media item is malformed; the text names the field."""


class MediaError(MessageError):
    """A picture, clip or sound cannot be read, or goes beyond a limit; the text says which."""


class ContextError(PeriluneError):
    """The prompt and the room asked for the answer do not fit the context."""


class RequestError(PeriluneError):
    """A sampling value or another request setting is out of range."""


class DocumentError(PeriluneError):
    """A file, folder or pipe cannot be read as text; `reason` is the short form for a list of skipped files."""

    def __init__(self, message: str, reason: str = "unreadable"):
        super().__init__(message)
        self.reason = reason

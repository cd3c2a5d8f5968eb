"""The errors a user can cause. The command line prints each as one line and exits with 1."""


def shown(text: object) -> str:
    """A message as one line for a terminal: what it quotes of a stranger's file may hold control characters."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


class DefeatError(Exception):
    """Base of every declared error; the message quotes the offending value and says what was expected."""


class ConfigError(DefeatError):
    """A parameter, YAML key or option is unknown, of the wrong type or out of range."""


class CheckpointError(DefeatError):
    """A weight file is missing, damaged, unsafe to read or made for another architecture."""


class FrameError(DefeatError):
    """An image, its intrinsics or its size cannot be used.

    Attributes:
        reason: short name under which a ledger counts the frame.
    """

    def __init__(self, message: str, reason: str = "bad_frame") -> None:
        super().__init__(message)
        self.reason = reason


class MessageError(DefeatError):
    """A ROS message or encoded image contradicts itself, is damaged, or uses an encoding that is not known.

    Attributes:
        reason: short name under which a ledger counts it: 'bad_message', 'unknown_encoding', 'bad_size', 'bad_step',
            'short_data', 'too_large', 'decode_failed' or 'bad_stamp'.
    """

    def __init__(self, message: str, reason: str = "bad_message") -> None:
        super().__init__(message)
        self.reason = reason


class SourceError(DefeatError):
    """A bag, video, folder or intrinsics file cannot be read, or lacks what was asked of it."""


class OutputError(DefeatError):
    """A result cannot be written: the path exists, or the disk is full or not writable."""


class BackendError(DefeatError):
    """A device or runtime was asked for that this machine does not have."""


class SecurityError(DefeatError):
    """The environment asks for a security that ROS would not give."""


class TrainingError(DefeatError):
    """Training cannot go on: it has collapsed, met a number that is not finite, or its state is damaged."""

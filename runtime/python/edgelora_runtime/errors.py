"""The errors that the runtime raises on purpose.

what was found, expected, to be done -> EdgeLoraError

A command line prints the message alone, a library user catches the class.
"""


class EdgeLoraError(Exception):
    """Something the user can put right; the message says what was found, what was expected and what to do."""


class ArtifactError(EdgeLoraError):
    """The artifact cannot be read: a missing file, a wrong hash, a newer format."""


class AdapterError(EdgeLoraError):
    """The adapter does not fit: unknown name, malformed SPEC, wrong modules, wrong shapes, no effect."""


class InputError(EdgeLoraError):
    """A prompt, a message list or a sampling option cannot be used as given."""

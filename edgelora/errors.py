"""The errors of the compiler and the trainer.

what is wrong with the input -> CheckpointError, ConfigError, DataError

The command line turns each of these into one line and exit code 2.
"""

from edgelora_runtime.errors import AdapterError, ArtifactError, EdgeLoraError, InputError

__all__ = [
    "AdapterError",
    "ArtifactError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EdgeLoraError",
    "InputError",
]


class CheckpointError(EdgeLoraError):
    """The base model cannot be read: missing or truncated files, unknown architecture, corrupt GGUF."""


class ConfigError(EdgeLoraError):
    """Options that contradict each other or the model."""


class DataError(EdgeLoraError):
    """Training or evaluation data without a usable row, or a line that cannot be read."""

"""Commands that are killed, or run out of disk, at many moments; knows nothing about what they do."""

"""From an artifact and rows to figures: answers, losses, milliseconds.

Knows nothing about how the artifact was made.
"""

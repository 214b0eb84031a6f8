"""From an artifact and rows to figures: answers, losses, milliseconds.

artifact, Row -> figures, Timings
"""

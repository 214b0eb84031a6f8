"""From lines of JSON to rows, from rows to token ids.

Knows nothing about models.
"""

"""From lines of JSON to rows, from rows to token ids.

data file -> Rows -> Encoded
"""

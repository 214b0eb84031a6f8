"""Ways to ship one fine-tuned model, compared on the same rows: train what is missing, score all, one report.

Knows nothing about the command line; how training, exporting and scoring work is their own matter.
"""

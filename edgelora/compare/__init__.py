"""Ways to ship one fine-tuned model, compared on the same rows: train what is missing, score all, one report.

Settings -> Compared, a report
"""

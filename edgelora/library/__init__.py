"""Adapters that somebody has, kept in one folder by their content: found, compared, thinned out, given to others.

PEFT folders -> a library of them
"""

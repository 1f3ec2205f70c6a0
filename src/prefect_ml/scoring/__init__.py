"""Scoring of whole data sets: what is read, how it is cut into chunks, and the parts that are written."""

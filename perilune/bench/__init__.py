"""Measurements: warm-up, medians, and the machine they were taken on."""

"""Planted truth: simulated evaluations through the real analysis, to measure how often it is wrong."""

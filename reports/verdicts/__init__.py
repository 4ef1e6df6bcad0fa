"""Verdicts: what the evidence of one question says, in numbers and sentences."""

"""What was measured: records of studies, their arrays, and the checks of fairness."""

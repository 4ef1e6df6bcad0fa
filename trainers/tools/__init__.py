"""Tools around training: probes, test functions, rehearsals."""

"""Studies that compare levels: protocol, stages and scheduler."""

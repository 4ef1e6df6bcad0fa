"""What MLflow shows of a study, and the doors to its stores."""

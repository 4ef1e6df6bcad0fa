"""What a study file may say, and what its parts mean."""

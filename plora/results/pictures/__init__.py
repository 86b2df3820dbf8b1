"""Pictures of runs and of methods."""

"""What is computed from the record of one run."""

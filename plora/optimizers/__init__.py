"""What steps the parameters, and how fast."""

"""What a run says while it works."""

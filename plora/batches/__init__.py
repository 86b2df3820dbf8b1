"""From encoded splits to batches, features and scores."""

"""What a run measured, on disk and checked: the record, from which everything else is recomputed."""

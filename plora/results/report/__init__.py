"""Pages about runs: the self-contained report, and the card of an exported model."""

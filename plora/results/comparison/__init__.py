"""Which runs may stand side by side, and what may be said from several."""

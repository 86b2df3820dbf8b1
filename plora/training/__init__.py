"""The one loop, and what it needs: plans of batches, scoring, checkpoints, the run folder."""

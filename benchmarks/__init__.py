"""Measurements against what a user would write today; each module is one, each writes one JSON file."""

"""The version of plora."""

__version__ = "0.1.0"

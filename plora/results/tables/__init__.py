"""Tables for the terminal, for programs and for papers."""

"""What writes the texts that generative replay learns from."""

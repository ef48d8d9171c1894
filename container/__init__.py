"""The image, what it starts with, and what simulates."""

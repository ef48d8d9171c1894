"""VAMS: its callbacks and answers, and what it takes back: metadata, previews, files within its limits."""

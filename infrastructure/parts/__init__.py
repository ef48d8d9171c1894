"""The constructs, one subject each."""

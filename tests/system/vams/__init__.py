"""A test-side VAMS: small, faithful where it matters, and read-only towards what was written for it."""

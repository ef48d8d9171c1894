"""From a request to a job: what was asked for is read, checked, completed and priced. Seconds, no GPU."""

"""The nouns: configurations, requests, jobs, events, outcomes and errors. Imports nothing else of the project."""

"""What a job leaves: the publishable tree, metrics, pictures, summaries, and their publication."""

"""What to make: metadata, selection, jobs and the estimate."""

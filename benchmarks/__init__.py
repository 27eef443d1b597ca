"""Speed, measured beside others in the same run."""

"""What travels: the messages as values, and the bytes they become. No state."""

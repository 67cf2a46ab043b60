"""What a user asks for: the configuration, read, checked and documented."""

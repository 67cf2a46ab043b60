"""What a user asks for: the configuration, read and checked."""

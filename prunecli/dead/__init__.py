"""Units that make no difference: what is the same whatever the input, and where it can go."""

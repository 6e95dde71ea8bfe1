"""People -> bytes: an encoder for each format."""

"""The server room: the model behind the APIs that clients already speak."""

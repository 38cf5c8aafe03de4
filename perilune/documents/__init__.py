"""From what the user names to token segments with places: files, folders, a pipe."""

"""Files that are no text → arrays: limits stand at the top of each file and are checked before and while decoding."""

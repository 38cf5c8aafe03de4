"""Several replicas of a server behind one address; Ray starts them and says when one has died."""

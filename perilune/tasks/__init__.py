"""Generated tasks: each example is a pure function of a seed; training and scoring share the generators."""

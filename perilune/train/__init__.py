"""The training workshop: vocabulary, mixture, packing, optimiser, loop."""

"""Step 3, training: optimiser, schedule, loop plumbing and pretraining of decoders."""

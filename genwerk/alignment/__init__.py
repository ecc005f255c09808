"""Step 4, tuning and alignment: from a checkpoint and examples to an adapter."""

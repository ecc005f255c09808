"""Step 5, inference: a model and a prompt become tokens. Sampler, penalties, stop strings, engine, receipts."""

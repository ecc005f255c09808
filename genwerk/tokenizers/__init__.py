"""Step 1: training, loading and running tokenizers, and decoding a stream of tokens."""

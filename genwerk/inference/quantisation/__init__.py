"""Fewer bits per weight at the least harm: smoothing, GPTQ, and the step that applies and measures them."""

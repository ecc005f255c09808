"""Floor 6: what a model is worth, in numbers with intervals: measures, gates, and the report that shows them."""

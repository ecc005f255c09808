"""Floor 8: the shipped recipes, and how a recipe is written, explained and documented."""

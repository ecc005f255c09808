"""Step 6, the door: an OpenAI-shaped API and one page, behind keys and guards, on top of a promoted deployment."""

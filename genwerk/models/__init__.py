"""Step 2: networks and their on-disk formats. Nothing here trains or samples."""

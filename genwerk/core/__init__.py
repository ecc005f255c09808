"""Floor 0: what every room stands on. Types, errors, config, workspace and lineage, events, assets, device."""

"""Default settings and presets, as RecBole keeps its own: one yaml file each."""

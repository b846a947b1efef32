"""RecBole's data sets, splits, samplers and loaders."""

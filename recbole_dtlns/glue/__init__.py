"""Everything that knows RecBole: configuration, data, training, and the commands."""

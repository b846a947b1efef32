"""The flat `dtlns_*` keys."""

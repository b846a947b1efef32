"""The only importer of RecBole: its configuration, data, models and trainers, and what is changed in them."""

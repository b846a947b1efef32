"""RecBole's trainers with chosen negatives."""

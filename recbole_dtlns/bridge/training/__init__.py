"""RecBole's trainers with chosen negatives and checkpoints that resume exactly."""

"""What RecBole's models and trainers get replaced at run time."""

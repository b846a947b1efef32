"""Teachers: recommenders fitted on the train split that name candidates and give item vectors."""

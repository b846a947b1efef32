"""What a trained model recommends: ranked lists, metrics by user, and whether two models differ."""

"""What a trained model is used for: lists of recommendations and vectors, tokens in and out."""

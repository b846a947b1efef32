"""What training minimises: ranking losses over several negatives, shared negatives, weights of doubtful ones."""

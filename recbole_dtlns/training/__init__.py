"""What training needs of torch alone: checkpoints and how a run goes on from one, averages, rates, exact products."""

"""RecBole's models: what each can take, how it propagates, scores and loses."""

"""Taking batches from agents: what is refused, what is stored and analysed, what is acknowledged."""

"""The running collector: its start and end, and the questions it answers."""

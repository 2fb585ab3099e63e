"""Steps from each released form of the state's tables to the next, run when a collector starts."""

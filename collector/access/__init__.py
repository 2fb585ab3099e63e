"""Who calls, and what they may: TLS, tokens, certificates. Knows nothing of events, baselines or storage."""

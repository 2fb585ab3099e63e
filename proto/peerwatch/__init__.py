"""peerwatch's contracts: the messages that agent, collector and commands exchange, and their two event codecs."""

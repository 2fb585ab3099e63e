"""The commands of `peerwatch`, one module each; `collector.cli` puts them together."""

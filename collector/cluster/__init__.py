"""What the cluster was at the time of an event: whose a container is, and who had an address. `view` puts it together."""

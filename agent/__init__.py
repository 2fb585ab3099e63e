"""The node side: from the kernel's probes to a stream of events with the pod they belong to. Knows nothing of learning."""

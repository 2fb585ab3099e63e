"""The cluster side: takes events in, learns what each workload does, compares replicas, and answers people."""

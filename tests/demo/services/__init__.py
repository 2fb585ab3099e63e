"""Programs that run inside the demo's containers. They are copied, not imported: standard library only."""

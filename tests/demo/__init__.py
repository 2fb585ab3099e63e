"""A newcomer's one command: the whole system on this host, a replica that is broken into, and how it is caught.

`services/` is what runs in the containers, `shop` starts it, `attack` breaks in, `daemons` starts the real agent and the
real collector, `watcher` asks the collector as any client would, `screen` shows it, and `verdict` says whether exactly
the attacked replica was flagged. `recorded` tells the same story from a recording, without root.
"""

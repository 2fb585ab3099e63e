"""The detection core: pure functions of numbers and names, without clock, I/O or event types.

A *case* is one behaviour that one replica shows for the first time. `surprise` says how unlikely something new is here at all,
`peers` who else had the chance and who did it, `support` when a behaviour is learned, `context` what the behaviour means on any
Linux system, and `decision` what follows: say it now, wait for the peers, or let it be. `volume` says when often is too often.

`context` asks what the program is for (`tools`), what its arguments say (`argument_context`, `sayings`), whom they name
(`named_hosts`, `addresses`), and whether it is told no more than is usual: by anybody and by administrators
(`everyday_calls`), by services (`service_calls`). What is the business of an image, whatever it is elsewhere, is in `software`.
`arguments`, `shell_commands` and `forms` turn argument lists into templates.
"""

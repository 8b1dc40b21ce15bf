"""Whole nights in virtual time: the real session, pool, queue and client against the emulated API, in one process.

Only the outermost effects are replaced: the event loop's clock, the socket, and the thread that SQLite runs in. Each of
them is a gate at which a process can be killed, frozen, or lose an answer; everything follows from one seed.
"""

"""What SSH needs besides a connection: known_hosts, ssh_config, and the command line of ``ssh``.

Reading and judging files and messages belongs here. Opening a connection does not: that is done
in ``lmm.transports``.
"""

"""What others run, one file per peer, each in a process of its own."""

"""A file per protocol over one session; answers and sockets, which several of them share."""

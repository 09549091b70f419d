"""The edge: sockets, epoll, the log thread, configuration. The only floor besides the CLI that knows trio."""

"""The networks on the runtimes of this machine; see `build.make_backend`."""

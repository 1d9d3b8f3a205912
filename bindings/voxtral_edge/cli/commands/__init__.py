"""One module for each command: HELP, ABOUT, add_arguments(parser) and run(args) -> exit status."""

"""The command line, one file a verb: parse, call one function, print, exit code. No decision of its own."""
